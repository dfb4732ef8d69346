//! The documented middleware, as it stands on the pages, in the programs that it is for, in front of the service as
//! people run it. `scripts/middleware` provides the proxies, `scripts/clients` the frameworks with the clients.

mod application;
mod pages;
mod programs;
mod questions;
mod scene;

use programs::Example;

/// The same questions to each program.
macro_rules! asked_of {
    ($($module:ident: $example:ident),*) => {$(mod $module {
        use super::{Example::$example, questions};

        #[tokio::test]
        async fn a_banned_key_is_refused_in_every_header_and_spelling() {
            questions::a_banned_key_is_refused_in_every_header_and_spelling($example).await;
        }

        #[tokio::test]
        async fn one_key_passes_however_often_it_is_named_and_two_keys_do_not() {
            questions::one_key_passes_however_often_it_is_named_and_two_keys_do_not($example).await;
        }

        #[tokio::test]
        async fn a_limited_key_is_told_when_to_come_back_and_asks_nothing_of_a_model_for_free() {
            questions::a_limited_key_is_told_when_to_come_back_and_asks_nothing_of_a_model_for_free($example).await;
        }

        #[tokio::test]
        async fn what_was_held_is_settled_however_the_request_ends() {
            questions::what_was_held_is_settled_however_the_request_ends($example).await;
        }

        #[tokio::test]
        async fn without_keyward_it_lets_through_or_refuses_as_it_is_told() {
            questions::without_keyward_it_lets_through_or_refuses_as_it_is_told($example).await;
        }

        #[tokio::test]
        async fn without_its_store_the_service_refuses_and_nobody_is_called_banned() {
            questions::without_its_store_the_service_refuses_and_nobody_is_called_banned($example).await;
        }
    })*};
}

asked_of!(python: Python, node: Node, nginx: Nginx, envoy: Envoy);

#[test]
fn every_example_on_the_pages_is_one_that_runs() {
    assert_eq!(pages::languages(pages::README, Some("## Behind your API")), ["python"]);
    let parts =
        ["## Node", "## nginx", "## Envoy"].map(|part| pages::languages(pages::MIDDLEWARE, Some(part)));
    assert_eq!(parts.concat(), ["js", "js", "nginx", "sh", "lua", "yaml"]);
    assert_eq!(
        pages::languages(pages::MIDDLEWARE, None),
        parts.concat(),
        "no example stands elsewhere on the page"
    );
}
