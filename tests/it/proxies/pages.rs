//! The published configurations, and the page that shows them.

use std::path::Path;

/// The page that shows them, step by step.
const PAGE: &str = "docs/doors.md";

fn read(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// A published configuration. The first of each pair in `changes` must stand in it, and becomes the second; `open`:
/// with the lines that let requests pass while Keyward does not answer.
pub(super) fn published(path: &str, open: bool, changes: &[(&str, String)]) -> String {
    let mut text = read(path);
    if open {
        assert!(text.contains("# open: "), "{path} has lines that are for passing");
        text = text.replace("# open: ", "");
    }
    for (from, to) in changes {
        assert!(text.contains(from), "{from} stands in {path}");
        text = text.replace(from, to);
    }
    text
}

#[test]
fn nginx_does_not_start_beside_a_default_site_that_asks_nobody() {
    let debian = "server { listen 80 default_server; listen [::]:80 default_server; root /var/www/html; }";
    let words = super::programs::nginx_beside(debian);
    assert!(words.contains("a duplicate default server"), "{words}");
    let page = read(PAGE);
    for step in
        ["rm /etc/nginx/sites-enabled/default", "rm /etc/nginx/conf.d/default.conf", "a2dissite 000-default"]
    {
        assert!(page.contains(step), "{PAGE} says {step}");
    }
}

#[test]
fn the_page_shows_every_configuration_as_it_is_tested() {
    let page = read(PAGE);
    for path in super::programs::PUBLISHED {
        let text = read(path);
        assert!(page.contains(text.trim_end()), "{PAGE} shows {path} as it stands");
        assert!(page.contains(path), "{PAGE} says where {path} is");
    }
}
