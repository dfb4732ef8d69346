//! Who is let in, for how long, and what they may do.

use super::{FORM, Page, VIEWS};
use crate::{
    domain::scope::Scope,
    http::new_token,
    intake::{Intake, Peppers},
    pricing::flat_example,
};

#[tokio::test]
async fn nobody_sees_anything_before_signing_in() {
    let (token, entry) = new_token(Some("on-call"), &[Scope::Read, Scope::BansWrite], None).unwrap();
    let page = Page::guarded(vec![entry]).await;
    for path in VIEWS {
        let reply = page.get(path).await;
        assert_eq!(reply.status, 303, "{path}");
        assert!(reply.header("location").starts_with("/ui/sign-in?next=%2Fui"), "{path}");
    }
    let act = page.call("POST", "/ui/acts/ban", &[FORM], "form_token=x&subject=key:a").await;
    assert_eq!((act.status, act.header("location")), (303, "/ui/sign-in"));
    let wrong = page.call("POST", "/ui/sign-in", &[FORM], "token=kw_on-call.wrong").await;
    assert_eq!((wrong.status, wrong.header("set-cookie")), (401, ""));
    assert!(
        wrong.text.contains("not a valid one") && wrong.text.contains("name=\"token\""),
        "{}",
        wrong.text
    );
    let cookie = page.sign_in(&token).await;
    let reply = page.call("GET", "/ui", &[("cookie", &cookie)], "").await;
    assert!(reply.status == 200 && reply.text.contains("on-call"), "{}", reply.text);
    let out = page.call("POST", "/ui/sign-out", &[FORM, ("cookie", &cookie)], "").await;
    assert!(out.header("set-cookie").contains("Max-Age=0"));
}

#[tokio::test]
async fn a_link_from_elsewhere_is_opened_again_by_the_page_itself() {
    let (_, entry) = new_token(None, &[Scope::Read], None).unwrap();
    let page = Page::guarded(vec![entry]).await;
    let link =
        [("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document")];
    let reply = page.call("GET", "/ui/subjects/key:a", &link, "").await;
    assert_eq!(reply.status, 200);
    assert!(reply.text.contains("content=\"0;url=/ui/subjects/key:a\""), "{}", reply.text);
}

#[tokio::test]
async fn a_session_that_is_changed_old_or_of_another_token_is_none() {
    let (token, entry) = new_token(Some("a"), &[Scope::Read], None).unwrap();
    let page = Page::guarded(vec![entry]).await;
    let cookie = page.sign_in(&token).await;
    let status = async |cookie: &str| page.call("GET", "/ui", &[("cookie", cookie)], "").await.status;
    assert_eq!(status(&cookie).await, 200);
    assert_eq!(status(&format!("other=1; {cookie}")).await, 200);
    let (named, signature) = cookie.rsplit_once('.').unwrap();
    let later = named.rsplit_once('.').unwrap().0;
    for bad in [
        format!("{named}.{}", "0".repeat(64)),
        format!("{named}."),
        format!("{later}.9999999999999.{signature}"),
        "keyward_session=".to_owned(),
        "keyward_session=a.1.x".to_owned(),
    ] {
        assert_eq!(status(&bad).await, 303, "{bad}");
    }
    // The same id with another token: what was signed for the former is over.
    let (_, other) = new_token(Some("a"), &[Scope::Read], None).unwrap();
    let rotated = Page::guarded(vec![other]).await;
    assert_eq!(rotated.call("GET", "/ui", &[("cookie", &cookie)], "").await.status, 303);
}

#[tokio::test]
async fn a_session_ends_with_its_token() {
    let page = Page::open().await;
    let end = page.engine.now() + 60_000;
    let (token, entry) = new_token(Some("a"), &[Scope::Read], Some(end)).unwrap();
    let page = Page::guarded(vec![entry]).await;
    let reply = page.call("POST", "/ui/sign-in", &[FORM], &format!("token={}", *token)).await;
    let age = reply.header("set-cookie").split("Max-Age=").nth(1).unwrap().split(';').next().unwrap();
    assert!(age.parse::<u64>().unwrap() <= 60, "{age}");
}

#[tokio::test]
async fn what_a_token_may_not_do_is_neither_shown_nor_done() {
    let made = [
        new_token(Some("reads"), &[Scope::Read], None).unwrap(),
        new_token(Some("acts"), &[Scope::Read, Scope::BansWrite], None).unwrap(),
        new_token(Some("probe"), &[Scope::Metrics], None).unwrap(),
    ];
    let page = Page::guarded(made.iter().map(|(_, entry)| entry.clone()).collect()).await;
    page.ban("key:a", "leaked").await;
    let reader = page.sign_in(&made[0].0).await;
    let shown = page.call("GET", "/ui/subjects/key:a", &[("cookie", &reader)], "").await;
    assert!(!shown.text.contains("/ui/acts/"), "{}", shown.text);
    let actor = page.sign_in(&made[1].0).await;
    let shown = page.call("GET", "/ui/subjects/key:a", &[("cookie", &actor)], "").await;
    assert!(shown.text.contains("/ui/acts/lift") && !shown.text.contains("/ui/acts/allow"));
    // A form token is of its own session alone.
    let order = format!("form_token={}&subject=key:a&reason=x", shown.form_token());
    let borrowed = page.call("POST", "/ui/acts/lift", &[FORM, ("cookie", &reader)], &order).await;
    assert_eq!(borrowed.status, 403);
    let probe = page.sign_in(&made[2].0).await;
    let reply = page.call("GET", "/ui", &[("cookie", &probe)], "").await;
    assert_eq!(reply.status, 403);
    assert!(reply.text.contains("lacks the scope read"), "{}", reply.text);
    assert!(page.is_banned("key:a").await);
}

#[tokio::test]
async fn a_lacking_scope_is_refused_also_with_a_good_form_token() {
    let (token, entry) = new_token(Some("reads"), &[Scope::Read], None).unwrap();
    let page = Page::guarded(vec![entry]).await;
    page.ban("key:a", "leaked").await;
    let cookie = page.sign_in(&token).await;
    let signer = Intake::live(Peppers::parse("0123456789abcdef0123").unwrap(), flat_example(), 300_000);
    let form_token = signer.sign(&["form of the page", cookie.split_once('=').unwrap().1]);
    for act in ["ban", "lift", "lift-many", "feedback", "allow"] {
        let order =
            format!("form_token={form_token}&subject=key:a&seconds=60&reason=x&event=1&verdict=benign");
        let reply = page.call("POST", &format!("/ui/acts/{act}"), &[FORM, ("cookie", &cookie)], &order).await;
        assert_eq!(reply.status, 403, "{act}");
        assert!(reply.text.contains("lacks the scope"), "{act}: {}", reply.text);
    }
    assert!(page.is_banned("key:a").await);
}
