//! Which client a user agent names: a product without its version, so that an upgrade is no new client.

use super::truncate;

/// The client of requests that name none: a client like any other.
pub const NO_CLIENT: &str = "(none)";

/// Bytes of the longest family; more of it is cut off.
const MAX_BYTES: usize = 48;

/// What browsers call themselves beside `Mozilla`, the more telling name first: an Edge also says Chrome and Safari.
const BROWSERS: [(&str, &str); 10] = [
    ("Edg/", "edge"),
    ("EdgA/", "edge"),
    ("EdgiOS/", "edge"),
    ("OPR/", "opera"),
    ("SamsungBrowser/", "samsung"),
    ("Firefox/", "firefox"),
    ("FxiOS/", "firefox"),
    ("CriOS/", "chrome"),
    ("Chrome/", "chrome"),
    ("Safari/", "safari"),
];

/// What their systems are called, the more telling name first: an Android also says Linux.
const SYSTEMS: [(&str, &str); 7] = [
    ("Windows", "windows"),
    ("Android", "android"),
    ("iPhone", "ios"),
    ("iPad", "ios"),
    ("CrOS", "chromeos"),
    ("Mac OS X", "macos"),
    ("Linux", "linux"),
];

/// Names in a browser's user agent that say nothing of which it is.
const FILLERS: [&str; 5] = ["mozilla", "applewebkit", "gecko", "version", "compatible"];

/// The family of a user agent: its product without the version, in lower case, at most 48 bytes. [`NO_CLIENT`] where
/// no product is named.
///
/// A browser's family is product and system (`firefox (windows)`). Another program that calls itself Mozilla is named
/// in it (`mozilla (nikto)`).
pub fn client_family(user_agent: Option<&str>) -> String {
    let user_agent = user_agent.unwrap_or_default().trim();
    let product = product(user_agent);
    if product.is_empty() {
        return NO_CLIENT.to_owned();
    }
    let family = if product == "mozilla" { browser(user_agent) } else { product };
    truncate(&family, MAX_BYTES).to_owned()
}

fn product(text: &str) -> String {
    text.split(['/', ' ', '(', ';']).next().unwrap_or_default().to_ascii_lowercase()
}

fn browser(user_agent: &str) -> String {
    let named = |names: &[(&str, &'static str)]| {
        names.iter().find(|(sign, _)| user_agent.contains(sign)).map(|(_, name)| *name)
    };
    let automatic = user_agent.contains("HeadlessChrome/").then_some("headless chrome");
    match (other_program(user_agent), automatic.or_else(|| named(&BROWSERS)), named(&SYSTEMS)) {
        (Some(program), _, _) => format!("mozilla ({program})"),
        (None, Some(browser), Some(system)) => format!("{browser} ({system})"),
        (None, Some(browser), None) => browser.to_owned(),
        (None, None, Some(system)) => format!("mozilla ({system})"),
        (None, None, None) => "mozilla".to_owned(),
    }
}

/// The first product with a version in it that is no browser's: `Nikto/2.1.6`, `WindowsPowerShell/5.1`,
/// `Googlebot/2.1`.
fn other_program(user_agent: &str) -> Option<String> {
    let words = user_agent.split([' ', '(', ')', ';', ',']);
    let products = words.filter(|word| word.contains('/') && !word.contains("://"));
    let names = products.map(|word| (word, product(word)));
    let is_browsers = |word: &str| BROWSERS.iter().any(|(sign, _)| word.starts_with(sign));
    let is_filler = |name: &str| FILLERS.contains(&name) || name == "headlesschrome" || name == "mobile";
    names
        .filter(|(word, name)| !name.is_empty() && !is_filler(name) && !is_browsers(word))
        .map(|(_, name)| name)
        .next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_its_product_without_the_version() {
        for (user_agent, family) in [
            ("openai-python/1.51.0", "openai-python"),
            ("OpenAI/Python 1.51.0", "openai"),
            ("curl", "curl"),
            (" python-requests/2.32", "python-requests"),
        ] {
            assert_eq!(client_family(Some(user_agent)), family);
        }
    }

    #[test]
    fn who_names_no_client_is_a_client_of_its_own() {
        for nothing in [None, Some(""), Some("  "), Some("/1.0"), Some("(x)")] {
            assert_eq!(client_family(nothing), NO_CLIENT, "{nothing:?}");
        }
    }

    #[test]
    fn browsers_are_told_apart_by_product_and_system() {
        let chrome = |system: &str, more: &str| {
            format!("Mozilla/5.0 ({system}) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 {more}")
        };
        let windows = "Windows NT 10.0; Win64; x64";
        for (user_agent, family) in [
            (chrome(windows, "Safari/537.36"), "chrome (windows)"),
            (chrome(windows, "Safari/537.36 Edg/120.0.0.0"), "edge (windows)"),
            (chrome("Macintosh; Intel Mac OS X 10_15_7", "Safari/537.36"), "chrome (macos)"),
            (chrome("Linux; Android 14", "Mobile Safari/537.36"), "chrome (android)"),
            (
                chrome("X11; Linux x86_64", "Safari/537.36").replace("Chrome", "HeadlessChrome"),
                "headless chrome (linux)",
            ),
            ("Mozilla/5.0 (X11; Linux x86_64; rv:120.0) Gecko/20100101 Firefox/120.0".to_owned(), "firefox (linux)"),
            (
                "Mozilla/5.0 (iPhone; CPU iPhone OS 17_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) \
                 Version/17.1 Mobile/15E148 Safari/604.1"
                    .to_owned(),
                "safari (ios)",
            ),
        ] {
            assert_eq!(client_family(Some(&user_agent)), family, "{user_agent}");
        }
    }

    #[test]
    fn what_only_calls_itself_mozilla_is_no_browser() {
        for (user_agent, family) in [
            ("Mozilla/5.0", "mozilla"),
            ("Mozilla/5.00 (Nikto/2.1.6) (Evasions:None) (Test:Port Check)", "mozilla (nikto)"),
            (
                "Mozilla/5.0 (Windows NT; Windows NT 10.0; en-US) WindowsPowerShell/5.1.19041.1682",
                "mozilla (windowspowershell)",
            ),
            (
                "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
                "mozilla (googlebot)",
            ),
            ("Mozilla/4.0 (compatible; MSIE 8.0; Windows NT 6.1)", "mozilla (windows)"),
        ] {
            assert_eq!(client_family(Some(user_agent)), family);
        }
    }
}
