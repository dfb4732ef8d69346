//! The page over a real engine and an embedded store, in the process: what forms do and what views show. Who is let in
//! is in `sessions`.

mod operating;
mod sessions;

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    body::{Body, to_bytes},
    http::{HeaderMap, Request},
};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::{
    config::{self, AllowedHosts, Config, DEFAULT_TOML, default_policy},
    domain::{
        actor::Actor,
        place::PlaceCore,
        profile::{PartSighting, Profile},
        registry::{Entry, KeyEntry, Project},
        scope::Scope,
        subject::Subject,
    },
    engine::{Engine, EngineOptions, LEASE},
    forward::{SinkContext, Status, Trials},
    geo::Geo,
    http::{AppState, Auth, Authorize, Bouncers, ShownConfig, new_token, router_with},
    intake::{Intake, Peppers},
    pricing::flat_example,
    store::embedded::{EmbeddedOptions, EmbeddedStore},
};

const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");

/// Every view, and whether it is one of a list.
const VIEWS: [&str; 11] = [
    "/ui",
    "/ui/events",
    "/ui/bans",
    "/ui/subjects",
    "/ui/subjects/key:a",
    "/ui/costs",
    "/ui/limits",
    "/ui/detectors",
    "/ui/sinks",
    "/ui/policy",
    "/ui/health",
];

struct Page {
    router: Router,
    engine: Arc<Engine>,
}

struct Reply {
    status: u16,
    headers: HeaderMap,
    text: String,
}

impl Reply {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The cookie that it sets, as it is sent back.
    fn cookie(&self) -> String {
        self.header("set-cookie").split(';').next().unwrap().to_owned()
    }

    /// The token of its first form that has one.
    fn form_token(&self) -> &str {
        let (_, rest) = self.text.split_once("name=\"form_token\" value=\"").expect("a form with a token");
        rest.split('"').next().unwrap()
    }
}

impl Page {
    async fn open() -> Self {
        Self::with(Auth::default()).await
    }

    async fn guarded(tokens: Vec<config::Token>) -> Self {
        Self::with(Auth::new(&config::Auth { tokens }).unwrap()).await
    }

    async fn with(auth: Auth) -> Self {
        Self::set_up(auth, |_| {}).await
    }

    /// With other settings than the defaults.
    async fn set_up(auth: Auth, change: impl FnOnce(&mut Config)) -> Self {
        let mut settings: Config = toml::from_str(DEFAULT_TOML).unwrap();
        change(&mut settings);
        let store = Arc::new(EmbeddedStore::in_memory(EmbeddedOptions::default()).unwrap());
        let engine = Engine::start(store, Arc::new(Geo::off()), default_policy(), options()).await.unwrap();
        let state = AppState {
            engine: engine.clone(),
            intake: Intake::live(Peppers::parse("0123456789abcdef0123").unwrap(), flat_example(), 300_000),
            auth,
            authorize: Authorize::new(&settings.server, &settings.authorize),
            traces: settings.traces.clone(),
            bouncers: Bouncers::default(),
            hosts: AllowedHosts::Loopback,
            components: Arc::new(|| serde_json::json!({ "geo": "off" })),
            sinks: vec![Arc::new(Status::new("siem", "webhook"))].into(),
            trials: Trials::new(&settings.sinks, &SinkContext::of_tests(engine.shared_store())),
            config: ShownConfig::new(&settings),
            metrics: Arc::new(String::new),
            started: 0,
            body_timeout: Duration::from_secs(2),
            shutdown: CancellationToken::new(),
        };
        Self { router: router_with(state, super::router), engine }
    }

    async fn call(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Reply {
        let mut request = Request::builder().method(method).uri(path).header("host", "localhost:8080");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::from(body.to_owned())).unwrap();
        let (parts, body) = self.router.clone().oneshot(request).await.unwrap().into_parts();
        let bytes = to_bytes(body, usize::MAX).await.unwrap();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        Reply { status: parts.status.as_u16(), headers: parts.headers, text }
    }

    async fn get(&self, path: &str) -> Reply {
        self.call("GET", path, &[], "").await
    }

    async fn ban(&self, subject: &str, reason: &str) {
        let (subject, now) = (Subject::parse(subject).unwrap(), self.engine.now());
        self.engine.bans().ban(&subject, Some(3_600_000), reason, &Actor::local(), now).await.unwrap();
    }

    async fn is_banned(&self, subject: &str) -> bool {
        let subject = Subject::parse(subject).unwrap();
        self.engine.standings().known_ban(&subject, self.engine.now()).is_some()
    }

    /// Signs in with a token, and returns the cookie.
    async fn sign_in(&self, token: &str) -> String {
        let reply = self.call("POST", "/ui/sign-in", &[FORM], &format!("token={token}&next=/ui/bans")).await;
        assert_eq!((reply.status, reply.header("location")), (303, "/ui/bans"), "{}", reply.text);
        let line = reply.header("set-cookie");
        for part in ["HttpOnly", "SameSite=Strict", "Path=/ui", "Max-Age="] {
            assert!(line.contains(part), "{line}");
        }
        reply.cookie()
    }
}

fn options() -> EngineOptions {
    EngineOptions {
        deadline: Duration::from_secs(5),
        idempotency_capacity: 100,
        retry_span: crate::domain::record::RETRY_SPAN,
        shares_store: false,
        profile_capacity: 100,
        new_subjects_per_minute: 6000,
        new_subjects_per_minute_per_address: 6000,
        fold_seconds: 60,
        event_buffer: 1000,
        flushes: true,
        usage_series: 1000,
        usage_by_user: false,
        lease: LEASE,
        directory: None,
    }
}

#[tokio::test]
async fn every_view_shows_itself_also_where_there_is_nothing_to_show() {
    let page = Page::open().await;
    let first = page.get("/").await;
    assert_eq!((first.status, first.header("location")), (303, "/ui"));
    for path in VIEWS {
        let reply = page.get(path).await;
        let status = if path.contains("key:a") { 404 } else { 200 };
        assert_eq!(reply.status, status, "{path}: {}", reply.text);
        assert_eq!(reply.header("content-type"), "text/html; charset=utf-8");
        assert!(reply.text.contains("<h1") && reply.text.contains("aria-current=\"page\""), "{path}");
        assert_eq!(reply.header("referrer-policy"), "same-origin", "else the origin of a form is null");
        let policy = reply.header("content-security-policy");
        assert!(policy.contains("default-src 'self'") && !policy.contains("unsafe"), "{policy}");
        for inline in ["<script>", " style=\"", " onclick=", "javascript:"] {
            assert!(!reply.text.contains(inline), "{path} has {inline}");
        }
    }
}

#[tokio::test]
async fn what_others_wrote_is_shown_as_text() {
    let page = Page::open().await;
    page.ban("key:a", "<script>alert(1)</script>").await;
    for path in ["/ui", "/ui/bans", "/ui/events", "/ui/subjects/key:a", "/ui/bans?q=%3Cscript%3E"] {
        let reply = page.get(path).await;
        assert!(!reply.text.contains("<script>alert"), "{path}");
        assert!(reply.text.contains("alert(1)"), "{path}");
    }
}

#[tokio::test]
async fn a_form_bans_and_another_lifts_and_each_says_why_in_the_log() {
    let page = Page::open().await;
    let form = page.get("/ui/subjects/key:a").await;
    let token = form.form_token();
    let ban = format!("form_token={token}&subject=key:a&seconds=3600&reason=leaked&back=/ui/subjects/key:a");
    let reply = page.call("POST", "/ui/acts/ban", &[FORM], &ban).await;
    assert_eq!(
        (reply.status, reply.header("location")),
        (303, "/ui/subjects/key:a?done=banned"),
        "{}",
        reply.text
    );
    assert!(page.is_banned("key:a").await);
    let shown = page.get("/ui/subjects/key:a?done=banned").await;
    assert_eq!(shown.status, 200);
    assert!(
        shown.text.contains("by an operator: leaked") && shown.text.contains("Banned. It holds"),
        "{}",
        shown.text
    );
    let lift = format!("form_token={token}&subject=key:a&reason=rotated&back=//evil.example");
    let reply = page.call("POST", "/ui/acts/lift", &[FORM], &lift).await;
    assert_eq!((reply.status, reply.header("location")), (303, "/ui?done=lifted"), "nobody is led elsewhere");
    assert!(!page.is_banned("key:a").await);
    assert!(page.get("/ui/events?type=BAN_LIFTED").await.text.contains("rotated"));
}

#[tokio::test]
async fn a_stopped_part_of_a_clear_key_is_shown_and_lifted() {
    let page = Page::open().await;
    let place = PlaceCore::unknown("198.51.100.7".parse().unwrap());
    let mut profile = Profile { requests: 1, ..Profile::default() };
    profile.later.parts.see(&PartSighting::that_stops("curl", &place), page.engine.now() - 3_600_000);
    page.engine.store().merge_profile(&Subject::key("a"), &profile).await.unwrap();
    let stopped = |shown: &Reply| {
        (shown.text.contains("<strong>client curl from"), shown.text.contains("/ui/acts/lift"))
    };
    let before = page.get("/ui/subjects/key:a").await;
    assert_eq!(stopped(&before), (true, true), "{}", before.text);
    let lift = format!("form_token={}&subject=key:a&reason=it+was+us", before.form_token());
    assert_eq!(page.call("POST", "/ui/acts/lift", &[FORM], &lift).await.status, 303);
    let after = page.get("/ui/subjects/key:a").await;
    assert_eq!(stopped(&after), (false, false), "{}", after.text);
}

#[tokio::test]
async fn a_key_of_a_banned_project_is_shown_as_banned_and_offers_no_lifting_but_of_its_own_ban() {
    let page = Page::open().await;
    let key = KeyEntry { project: Some("shop".to_owned()), ..KeyEntry::default() };
    let (project, by, now) = (Entry::Project(Project::default()), Actor::local(), page.engine.now());
    page.engine.registry_changes().put("shop", &project, &by, now).await.unwrap();
    page.engine.registry_changes().put("a", &Entry::Key(key), &by, now).await.unwrap();
    page.ban("project:shop", "spent").await;
    let shown = page.get("/ui/subjects/key:a").await;
    assert!(shown.text.contains("(by project:shop)"), "{}", shown.text);
    assert!(!shown.text.contains("/ui/acts/lift\""), "{}", shown.text);
    page.ban("key:a", "leaked").await;
    let shown = page.get("/ui/subjects/key:a").await;
    assert!(shown.text.contains("leaked") && shown.text.contains("/ui/acts/lift\""), "{}", shown.text);
}

#[tokio::test]
async fn several_bans_are_lifted_by_one_form() {
    let page = Page::open().await;
    for n in 1..4 {
        page.ban(&format!("ip:203.0.113.{n}"), "scan").await;
    }
    let list = page.get("/ui/bans?q=scan").await;
    let token = list.form_token();
    let order = format!(
        "form_token={token}&subjects=ip:203.0.113.1&subjects=ip:203.0.113.2&reason=ours&back=/ui/bans"
    );
    let reply = page.call("POST", "/ui/acts/lift-many", &[FORM], &order).await;
    assert_eq!(reply.header("location"), "/ui/bans?done=lifted-many");
    assert!(!page.is_banned("ip:203.0.113.1").await && page.is_banned("ip:203.0.113.3").await);
    let none =
        page.call("POST", "/ui/acts/lift-many", &[FORM], &format!("form_token={token}&reason=x")).await;
    assert_eq!(none.status, 422);
    assert!(none.text.contains("tick those to lift"), "{}", none.text);
}

#[tokio::test]
async fn a_form_that_is_forged_foreign_or_without_a_reason_does_nothing() {
    let page = Page::open().await;
    page.ban("key:a", "leaked").await;
    let token = page.get("/ui/subjects/key:a").await.form_token().to_owned();
    let own = format!("form_token={token}&subject=key:a&reason=x");
    for (headers, body, status) in [
        (vec![FORM], "subject=key:a&reason=x".to_owned(), 403),
        (vec![FORM], "form_token=&subject=key:a&reason=x".to_owned(), 403),
        (vec![FORM], format!("form_token={}&subject=key:a&reason=x", "0".repeat(64)), 403),
        (vec![FORM, ("origin", "http://evil.example")], own.clone(), 403),
        (vec![FORM, ("sec-fetch-site", "cross-site")], own.clone(), 403),
        (vec![("content-type", "text/plain")], own.clone(), 415),
        (vec![FORM], format!("form_token={token}&subject=key:a"), 422),
        (vec![FORM], format!("form_token={token}&subject=key:a&reason=+"), 422),
        (vec![FORM], format!("form_token={token}&subject=nobody&reason=x"), 422),
        (vec![FORM], format!("form_token={token}&subject=key:other&reason=x"), 404),
    ] {
        let reply = page.call("POST", "/ui/acts/lift", &headers, &body).await;
        assert_eq!(reply.status, status, "{body} {headers:?}: {}", reply.text);
        assert!(page.is_banned("key:a").await);
    }
}

#[tokio::test]
async fn keys_that_were_seen_are_listed_and_found() {
    let page = Page::open().await;
    let profile = Profile { requests: 1, last_seen: Some(page.engine.now()), ..Profile::default() };
    for key in ["billing-service", "search-service"] {
        page.engine.store().merge_profile(&Subject::key(key), &profile).await.unwrap();
    }
    let all = page.get("/ui/subjects").await.text;
    assert!(all.contains("key:billing-service") && all.contains("key:search-service"));
    let found = page.get("/ui/subjects?q=billing").await.text;
    assert!(found.contains("key:billing-service") && !found.contains("key:search-service"));
    let address = page.get("/ui/subjects?q=203.0.113.7").await;
    assert_eq!((address.status, address.header("location")), (303, "/ui/subjects/ip:203.0.113.7"));
}

#[tokio::test]
async fn costs_are_had_as_csv_by_whoever_may_read() {
    let page = Page::open().await;
    let shown = page.get("/ui/costs?by=model").await.text;
    let link = shown.split("href=\"").find(|part| part.starts_with("/ui/costs/usage")).unwrap();
    let link = link.split('"').next().unwrap().replace("&#38;", "&").replace("&amp;", "&");
    let csv = page.get(&link).await;
    assert_eq!(csv.status, 200, "{link}: {}", csv.text);
    assert!(csv.text.starts_with("start,model,requests,"), "{}", csv.text);
    let (_, entry) = new_token(None, &[Scope::Read], None).unwrap();
    assert_eq!(Page::guarded(vec![entry]).await.get(&link).await.status, 303);
}

#[tokio::test]
async fn files_are_kept_for_ever_under_their_version_and_no_others_are_there() {
    let page = Page::open().await;
    let shown = page.get("/ui").await.text;
    let css =
        shown.split("href=\"").find(|part| part.contains("page.css")).unwrap().split('"').next().unwrap();
    let reply = page.get(css).await;
    assert_eq!((reply.status, reply.header("content-type")), (200, "text/css; charset=utf-8"));
    assert!(reply.header("cache-control").contains("immutable"));
    assert_eq!(page.get("/ui/assets/latest/page.css").await.header("cache-control"), "no-cache");
    for absent in ["/ui/assets/latest/nothing.js", "/ui/nothing", "/ui/events/nothing"] {
        assert_eq!(page.get(absent).await.status, 404, "{absent}");
    }
}

#[tokio::test]
async fn what_is_looked_for_stands_in_no_address_and_a_secret_leads_to_its_key() {
    let page = Page::open().await;
    let shown = page.get("/ui").await;
    let token = shown.form_token().to_owned();
    assert!(shown.text.contains("<form class=\"find\" method=\"post\" action=\"/ui/find\""));
    let find = async |text: &str| {
        page.call("POST", "/ui/find", &[FORM], &format!("form_token={token}&q={text}")).await
    };
    let secret = find("sk-live-4f9a").await;
    assert_eq!(secret.status, 303, "{}", secret.text);
    let location = secret.header("location");
    assert!(location.starts_with("/ui/subjects/key:k1:") && !location.contains("4f9a"), "{location}");
    assert_eq!(find("203.0.113.7").await.header("location"), "/ui/subjects/ip:203.0.113.7");
    let nobody = find("nightly+report").await;
    assert_eq!((nobody.status, nobody.header("location")), (200, ""));
    assert!(nobody.text.contains("Nobody is found"), "{}", nobody.text);
    assert_eq!(
        page.call("POST", "/ui/find", &[FORM], "q=x").await.status,
        403,
        "without the token of the form"
    );
}
