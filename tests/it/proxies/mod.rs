//! Real reverse proxies in front of an application, each with the configuration that is published for it and the
//! service as people run it. `scripts/proxies` and `scripts/middleware` provide the programs.

mod grpc;
mod pages;
mod programs;
mod questions;
mod scene;
mod sdks;

/// The same questions to each proxy.
macro_rules! asked_of {
    ($($module:ident: $proxy:ident),*) => {$(mod $module {
        use super::{programs::Proxy::$proxy, questions};

        #[tokio::test]
        async fn a_good_key_passes_and_the_application_learns_who_asks() {
            questions::a_good_key_passes_and_the_application_learns_who_asks($proxy).await;
        }

        #[tokio::test]
        async fn a_banned_key_is_refused_in_every_place_and_spelling() {
            questions::a_banned_key_is_refused_in_every_place_and_spelling($proxy).await;
        }

        #[tokio::test]
        async fn a_limited_key_gets_429_and_when_to_come_back() {
            questions::a_limited_key_gets_429_and_when_to_come_back($proxy).await;
        }

        #[tokio::test]
        async fn a_request_without_a_key_is_refused_or_passes_as_the_settings_say() {
            questions::a_request_without_a_key_is_refused_or_passes_as_the_settings_say($proxy).await;
        }

        #[tokio::test]
        async fn two_keys_are_refused_in_whichever_places_they_are() {
            questions::two_keys_are_refused_in_whichever_places_they_are($proxy).await;
        }

        #[tokio::test]
        async fn an_address_that_the_client_makes_up_is_not_believed() {
            questions::an_address_that_the_client_makes_up_is_not_believed($proxy).await;
        }

        #[tokio::test]
        async fn while_keyward_is_away_requests_are_refused_or_pass_as_the_configuration_says() {
            questions::while_keyward_is_away_requests_are_refused_or_pass_as_the_configuration_says($proxy).await;
        }

        #[tokio::test]
        async fn many_headers_neither_hide_a_key_nor_end_the_proxy() {
            questions::many_headers_neither_hide_a_key_nor_end_the_proxy($proxy).await;
        }

        #[tokio::test]
        async fn a_503_that_keyward_answers_is_none_that_lets_requests_pass() {
            questions::a_503_that_keyward_answers_is_none_that_lets_requests_pass($proxy).await;
        }

        #[tokio::test]
        async fn what_was_reserved_is_settled() {
            questions::what_was_reserved_is_settled($proxy).await;
        }
    })*};
}

asked_of!(
    nginx: Nginx, caddy: Caddy, traefik: Traefik, envoy: Envoy, envoy_grpc: EnvoyGrpc, haproxy: Haproxy, apache: Apache
);
