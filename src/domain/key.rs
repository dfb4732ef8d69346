//! How keys are spelled: the secret (`api_key`), and the public id (`key_id`), which must not be one.

/// The longest public id of a key, in bytes.
pub const MAX_KEY_ID_BYTES: usize = 256;
/// The longest secret, in bytes, without the blanks around it.
pub const MAX_API_KEY_BYTES: usize = 512;

/// What the public id of a key must be, after the name of the field.
pub const KEY_ID_FORM: &str = "must be 1 to 256 visible ASCII characters (! to ~), without spaces";
/// What a secret must be, after the name of the field.
pub const API_KEY_FORM: &str = "must be 1 to 512 visible ASCII characters (! to ~); blanks around it are taken \
     off, and \
     there are none in it: send the key alone, without a word such as Bearer";

/// How the secrets of one provider begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SecretPrefix {
    /// The first characters; case matters.
    pub text: &'static str,
    /// Whose secrets they are.
    pub of: &'static str,
    /// Where that is written: a page of the provider, else a rule by which a public scanner finds leaked secrets.
    pub source: &'static str,
}

const fn prefix(text: &'static str, of: &'static str, source: &'static str) -> SecretPrefix {
    SecretPrefix { text, of, source }
}

const GITHUB: &str =
    "https://github.blog/changelog/2021-03-31-authentication-token-format-updates-are-generally-available";
const GITHUB_DOCS: &str = "https://docs.github.com/en/authentication/keeping-your-account-and-data-secure/\
                           about-authentication-to-github";
const SLACK: &str = "https://docs.slack.dev/authentication/tokens";

/// How secrets begin that are sent as public ids by mistake. Longer ones stand before those that they begin with.
/// `AKIA` of AWS is not among them: it begins the public id of an access key, which is what a `key_id` is for.
pub const SECRET_PREFIXES: [SecretPrefix; 26] = [
    prefix("sk-ant-", "Anthropic", "gitleaks, rule anthropic-api-key"),
    prefix("sk-proj-", "OpenAI", "gitleaks, rule openai-api-key"),
    prefix("sk-", "OpenAI and others", "gitleaks, rule openai-api-key"),
    prefix("sk_live_", "Stripe", "https://docs.stripe.com/keys"),
    prefix("sk_test_", "Stripe", "https://docs.stripe.com/keys"),
    prefix("rk_live_", "Stripe", "https://docs.stripe.com/keys"),
    prefix("ghp_", "GitHub", GITHUB),
    prefix("gho_", "GitHub", GITHUB),
    prefix("ghu_", "GitHub", GITHUB),
    prefix("ghs_", "GitHub", GITHUB),
    prefix("ghr_", "GitHub", GITHUB),
    prefix("github_pat_", "GitHub", GITHUB_DOCS),
    prefix("glpat-", "GitLab", "https://docs.gitlab.com/security/tokens/"),
    prefix("xoxb-", "Slack", SLACK),
    prefix("xoxp-", "Slack", SLACK),
    prefix("xapp-", "Slack", SLACK),
    prefix("AIza", "Google", "gitleaks, rule gcp-api-key"),
    prefix("hf_", "Hugging Face", "gitleaks, rule huggingface-access-token"),
    prefix("gsk_", "Groq", "gitleaks, rule groq-api-key"),
    prefix("pplx-", "Perplexity", "gitleaks, rule perplexity-api-key"),
    prefix("r8_", "Replicate", "TruffleHog, detector replicate"),
    prefix("xai-", "xAI", "TruffleHog, detector xai"),
    prefix("npm_", "npm", "gitleaks, rule npm-access-token"),
    prefix("pypi-", "PyPI", "https://pypi.org/help/#apitoken"),
    prefix("kwk_", "Keyward", "kept for keys that Keyward issues"),
    prefix("kw_", "Keyward", "tokens of Keyward's own API, docs/operations.md"),
];

/// A public id that begins as a secret does. Says whose, and never repeats the id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("begins with {}, as secrets of {} do", .0.text, .0.of)]
pub struct LooksSecret(pub &'static SecretPrefix);

/// Whether `id` may name a key: 1 to 256 visible ASCII characters.
pub fn valid_key_id(id: &str) -> bool {
    (1..=MAX_KEY_ID_BYTES).contains(&id.len()) && is_visible(id)
}

/// Whether `id` begins as a secret does.
pub fn looks_secret(id: &str) -> Option<LooksSecret> {
    SECRET_PREFIXES.iter().find(|prefix| id.starts_with(prefix.text)).map(LooksSecret)
}

/// Brings a secret into its one form, in place so that no copy of it is left behind: blanks (ASCII white space) around
/// it are taken off. Says whether it then is one.
pub fn canonical_api_key(secret: &mut String) -> bool {
    secret.truncate(secret.trim_ascii_end().len());
    secret.drain(..secret.len() - secret.trim_ascii_start().len());
    (1..=MAX_API_KEY_BYTES).contains(&secret.len()) && is_visible(secret)
}

fn is_visible(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// What a key has of the one whose place it took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Succession {
    /// The registry says of it what it says of the other one: project, plan, limits, and what it may.
    pub has_terms: bool,
    /// It has what was learned of the other one.
    pub has_past: bool,
}

impl Succession {
    /// What the key `new` has of the key `old`, in a sentence.
    pub fn sentence(self, old: &str, new: &str) -> String {
        match (self.has_terms, self.has_past) {
            (true, true) => format!("{new} has the project, plan and past of {old}."),
            (true, false) => {
                format!("{new} has the project and plan of {old}, of which nothing had been learned.")
            }
            (false, true) => {
                format!("{new} has the past of {old}; what the registry says of either is left as it was.")
            }
            (false, false) => format!(
                "{new} has nothing of {old}: what the registry says of either is left as it was, and nothing had been \
                 learned of {old}."
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_id_is_visible_ascii_of_bounded_length() {
        for good in ["a", "k1:9f2c41d07be5a8c3", "!", "~", "Team-A/1%2F", &"x".repeat(256)] {
            assert!(valid_key_id(good), "{good}");
        }
        for bad in
            ["", " ", "a b", "a\tb", " a", "a\n", "ключ", "ａ", "a\u{200b}", "\u{7f}", &"x".repeat(257)]
        {
            assert!(!valid_key_id(bad), "{bad:?}");
        }
    }

    #[test]
    fn blanks_around_a_secret_are_taken_off_and_nothing_else() {
        for spelled in ["sk-1", " sk-1", "sk-1 ", "\t\r\n sk-1\u{c}\n"] {
            let mut secret = spelled.to_owned();
            assert!(canonical_api_key(&mut secret), "{spelled:?}");
            assert_eq!(secret, "sk-1", "{spelled:?}");
        }
        for bad in ["", " \t", "Bearer sk-1", "sk\u{0}1", "sk-1\u{a0}", "\u{feff}sk-1", "sk-1\u{b}", "sk–1"]
        {
            assert!(!canonical_api_key(&mut bad.to_owned()), "{bad:?}");
        }
        assert!(canonical_api_key(&mut format!("  {}  ", "x".repeat(512))));
        assert!(!canonical_api_key(&mut "x".repeat(513)));
    }

    #[test]
    fn each_prefix_is_found_and_the_longest_one_is_named() {
        for (index, prefix) in SECRET_PREFIXES.iter().enumerate() {
            assert_eq!(looks_secret(&format!("{}4f9a", prefix.text)), Some(LooksSecret(prefix)));
            assert!(!prefix.of.is_empty() && !prefix.source.is_empty(), "{}", prefix.text);
            let hides = |later: &SecretPrefix| later.text.starts_with(prefix.text);
            assert!(!SECRET_PREFIXES[index + 1..].iter().any(hides), "{} hides a longer one", prefix.text);
        }
        for public in ["acme", "k1:9f2c41d07be5a8c3", "SK-live", "task-1", "AKIAIOSFODNN7EXAMPLE", "sk"] {
            assert_eq!(looks_secret(public), None, "{public}");
        }
    }

    #[test]
    fn what_is_said_of_a_secret_does_not_hold_it() {
        let said = looks_secret("sk-ant-4f9a").unwrap().to_string();
        assert_eq!(said, "begins with sk-ant-, as secrets of Anthropic do");
    }
}
