//! The bare name of a model: without the prefix of a provider and its regions, and without the version and date of a
//! snapshot. Every step on the way is a part of the name as it was reported, so nothing is copied.
//!
//! Prefixes are those of the providers' own interfaces and of common gateways. A prefix that is not listed is a part of
//! the name: who serves a model on machines of their own has a model of their own.

use std::cmp::Reverse;

use smallvec::SmallVec;

/// Prefixes before a `/`. Whoever makes models comes first, then clouds, then those who sell on.
const PROVIDERS: [&str; 43] = [
    "openai",
    "anthropic",
    "gemini",
    "google",
    "mistral",
    "mistralai",
    "codestral",
    "xai",
    "x-ai",
    "deepseek",
    "cohere",
    "cohere_chat",
    "meta_llama",
    "meta",
    "amazon_nova",
    "amazon",
    "ai21",
    "moonshot",
    "moonshotai",
    "zai",
    "z-ai",
    "minimax",
    "dashscope",
    "qwen",
    "perplexity",
    "azure",
    "azure_ai",
    "azure_text",
    "vertex_ai",
    "vertex_ai_beta",
    "bedrock",
    "bedrock_converse",
    "sagemaker",
    "databricks",
    "groq",
    "cerebras",
    "together_ai",
    "fireworks_ai",
    "deepinfra",
    "openrouter",
    "vercel_ai_gateway",
    "github",
    "github_copilot",
];
/// What may stand between the provider and the model: a region, or a way of calling.
const WITHIN: [&str; 16] = [
    "us",
    "eu",
    "global",
    "global-standard",
    "us-gov",
    "apac",
    "invoke",
    "converse",
    "converse_like",
    "1-month-commitment",
    "6-month-commitment",
    "models",
    "anthropic_models",
    "text-completion-openai",
    "responses",
    "chat",
];
/// What stands before the first `.` in the names of Bedrock: the region of an inference profile, then the maker.
const BEDROCK: [&str; 28] = [
    "us",
    "eu",
    "apac",
    "ap",
    "au",
    "jp",
    "ca",
    "sa",
    "me",
    "global",
    "us-gov",
    "anthropic",
    "amazon",
    "meta",
    "mistral",
    "cohere",
    "ai21",
    "deepseek",
    "openai",
    "qwen",
    "google",
    "minimax",
    "moonshot",
    "moonshotai",
    "nvidia",
    "writer",
    "zai",
    "xai",
];

/// The name as it was reported, then ever plainer ones: without prefixes, one by one, then without version and date.
pub fn forms(name: &str) -> SmallVec<[&str; 8]> {
    let mut forms = SmallVec::from_slice(&[name]);
    walk(name, |form| forms.push(form));
    forms
}

/// The plainest form of a name.
pub fn bare(name: &str) -> &str {
    walk(name, |_| ())
}

/// Calls `tell` with every plainer form, and returns the plainest.
fn walk<'n>(name: &'n str, mut tell: impl FnMut(&'n str)) -> &'n str {
    let mut name = walk_prefixes(name, &mut tell);
    while let Some(rest) = without_snapshot(name) {
        tell(rest);
        name = rest;
    }
    name
}

/// The name without the prefixes of providers.
pub fn unprefixed(name: &str) -> &str {
    walk_prefixes(name, |_| ())
}

fn walk_prefixes<'n>(name: &'n str, mut tell: impl FnMut(&'n str)) -> &'n str {
    let (mut name, mut within) = (name, false);
    while let Some(rest) = without_prefix(name, within) {
        tell(rest);
        (name, within) = (rest, true);
    }
    name
}

/// Orders names of one model by how well each stands for the bare one, the best first: one without a prefix, then by
/// its provider; of one provider an undated name, then the latest, then the newest date.
pub fn rank(name: &str) -> impl Ord + use<> {
    let unprefixed = unprefixed(name);
    let provider = match name.strip_suffix(unprefixed) {
        Some("") => 0,
        _ => {
            let first = name.split('/').next();
            1 + PROVIDERS.iter().position(|known| Some(*known) == first).unwrap_or(PROVIDERS.len())
        }
    };
    let snapshot = unprefixed.strip_prefix(bare(unprefixed)).unwrap_or_default();
    let dated = match snapshot {
        "" => 0,
        _ if snapshot.ends_with("latest") => 1,
        _ => 2,
    };
    (provider, dated, Reverse(snapshot.to_owned()), name.to_owned())
}

/// `within`: a provider was taken off before.
fn without_prefix(name: &str, within: bool) -> Option<&str> {
    if let Some((first, rest)) = name.split_once('/') {
        let is_prefix = PROVIDERS.contains(&first) || within && (WITHIN.contains(&first) || is_region(first));
        return Some(rest).filter(|rest| is_prefix && !rest.is_empty()).or_else(|| after_path(name));
    }
    let (first, rest) = name.split_once('.')?;
    Some(rest).filter(|rest| BEDROCK.contains(&first) && rest.starts_with(|c: char| c.is_ascii_lowercase()))
}

/// Names as paths of the providers' interfaces.
fn after_path(name: &str) -> Option<&str> {
    let named = name.strip_prefix("models/");
    let published = || name.strip_prefix("publishers/")?.split_once("/models/").map(|(_, rest)| rest);
    let deployed = || name.strip_prefix("accounts/fireworks/models/");
    named.or_else(published).or_else(deployed).filter(|rest| !rest.is_empty())
}

/// Such as `us-east-1`.
fn is_region(text: &str) -> bool {
    let mut parts = text.split('-');
    let is_area =
        parts.next().is_some_and(|area| area.len() == 2 && area.bytes().all(|b| b.is_ascii_lowercase()));
    is_area && text.len() <= 16 && parts.next_back().is_some_and(|last| is_number(last, 1))
}

/// Without what says which snapshot it is, if anything does.
fn without_snapshot(name: &str) -> Option<&str> {
    let rest = tuned(name).or_else(|| name.strip_suffix("-latest")).or_else(|| name.strip_suffix(":latest"));
    let rest = rest.or_else(|| bedrock_version(name)).or_else(|| vertex_version(name));
    rest.or_else(|| without_date(name)).filter(|rest| !rest.is_empty())
}

/// `ft:gpt-4.1:acme::id` is a tuned `ft:gpt-4.1`.
fn tuned(name: &str) -> Option<&str> {
    let rest = name.strip_prefix("ft:")?;
    rest.split_once(':').map(|(model, _)| &name[..3 + model.len()])
}

/// `claude-opus-4-v1:0` and `claude-opus-4-6-v1` are a `claude-opus-4` and a `claude-opus-4-6`; but `claude-v2:1` and
/// `claude-instant-v1` are themselves.
fn bedrock_version(name: &str) -> Option<&str> {
    let (rest, version) = name.rsplit_once("-v")?;
    let is_full = version.split_once(':').is_some_and(|(major, minor)| is_digits(major) && is_digits(minor));
    let is_numbered = name.starts_with("claude-") && rest.ends_with(|c: char| c.is_ascii_digit());
    let is_version = is_full && rest.contains('-') || is_digits(version) && is_numbered;
    Some(rest).filter(|_| is_version)
}

/// `claude-opus-4@20250514` is a `claude-opus-4`.
fn vertex_version(name: &str) -> Option<&str> {
    let (rest, version) = name.rsplit_once('@')?;
    Some(rest).filter(|_| version == "default" || version == "latest" || is_day(version))
}

/// Without a date at the end, in any of the forms that providers use.
fn without_date(name: &str) -> Option<&str> {
    let (rest, last) = name.rsplit_once('-')?;
    if is_day(last) || is_month_or_day(last) {
        return Some(rest);
    }
    let is_gemini = name.starts_with("gemini-");
    if is_gemini && last.len() == 3 && last.starts_with("00") && is_digits(last) {
        return Some(rest);
    }
    let (front, middle) = rest.rsplit_once('-')?;
    if is_year(last) && is_within(middle, 1, 12)
        || is_gemini && is_within(middle, 1, 12) && is_within(last, 1, 31)
    {
        return Some(front);
    }
    let (front, year) = front.rsplit_once('-')?;
    (is_year(year) && is_within(middle, 1, 12) && is_within(last, 1, 31)).then_some(front)
}

/// Such as `20250414`.
fn is_day(text: &str) -> bool {
    is_number(text, 8) && is_year(&text[..4]) && is_within(&text[4..6], 1, 12) && is_within(&text[6..], 1, 31)
}

/// Such as `2411` (a month) or `0613` (a day); `1024` is a size.
fn is_month_or_day(text: &str) -> bool {
    if !is_number(text, 4) || text == "1024" {
        return false;
    }
    let (first, last) = text.split_at(2);
    is_within(first, 23, 39) && is_within(last, 1, 12) || is_within(first, 1, 12) && is_within(last, 1, 31)
}

fn is_year(text: &str) -> bool {
    is_number(text, 4) && is_within(&text[..2], 20, 20) && is_within(&text[2..], 20, 39)
}

/// Whether it is a number of two digits between two others.
fn is_within(text: &str, least: u8, most: u8) -> bool {
    is_number(text, 2) && text.parse().is_ok_and(|number: u8| (least..=most).contains(&number))
}

fn is_number(text: &str, length: usize) -> bool {
    text.len() == length && is_digits(text)
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_name_has_neither_prefix_nor_date() {
        for (name, expected) in [
            ("gpt-4.1", "gpt-4.1"),
            ("gpt-4.1-2025-04-14", "gpt-4.1"),
            ("openai/gpt-4.1-mini-2025-04-14", "gpt-4.1-mini"),
            ("azure/eu/gpt-4.1", "gpt-4.1"),
            ("azure/global-standard/gpt-4o-2024-08-06", "gpt-4o"),
            ("gpt-4-0613", "gpt-4"),
            ("claude-sonnet-4-5-20250929", "claude-sonnet-4-5"),
            ("claude-3-7-sonnet-latest", "claude-3-7-sonnet"),
            ("anthropic/claude-opus-4-1-20250805", "claude-opus-4-1"),
            ("anthropic.claude-sonnet-4-5-20250929-v1:0", "claude-sonnet-4-5"),
            ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", "claude-sonnet-4-5"),
            ("bedrock/us-east-1/anthropic.claude-sonnet-4-5-20250929-v1:0", "claude-sonnet-4-5"),
            ("bedrock/us-gov-west-1/us-gov.anthropic.claude-sonnet-4-5-20250929-v1:0", "claude-sonnet-4-5"),
            ("vertex_ai/claude-sonnet-4-5@20250929", "claude-sonnet-4-5"),
            ("publishers/google/models/gemini-2.5-pro", "gemini-2.5-pro"),
            ("models/gemini-2.0-flash-001", "gemini-2.0-flash"),
            ("gemini/gemini-2.5-flash-preview-05-20", "gemini-2.5-flash-preview"),
            ("gemini-2.5-flash-preview-09-2025", "gemini-2.5-flash-preview"),
            ("command-r-08-2024", "command-r"),
            ("global.anthropic.claude-opus-4-6-v1", "claude-opus-4-6"),
            ("mistral/mistral-large-2411", "mistral-large"),
            ("openrouter/x-ai/grok-4-0709", "grok-4"),
            ("ft:gpt-4.1-2025-04-14:acme::id", "ft:gpt-4.1"),
        ] {
            assert_eq!(bare(name), expected, "{name}");
            assert_eq!(forms(name).last(), Some(&expected), "{name}");
        }
    }

    #[test]
    fn what_is_neither_prefix_nor_date_stays() {
        for name in [
            "gpt-4o-mini",
            "text-embedding-004",
            "text-davinci-003",
            "claude-v2:1",
            "claude-instant-v1",
            "acme/gpt-4.1",
            "us/gpt-4.1",
            "meta-llama/Llama-3.1-8B",
            "llama-3.1-8b-1024",
            "phi-4-9999",
            "gpt-4.1:free",
            "gpt-4-1106-preview",
            "20250414",
            "-latest",
            "openai/",
            "2025-04-14",
            "ü-ü",
            "",
        ] {
            assert_eq!(bare(name), name);
        }
    }

    #[test]
    fn forms_lead_from_the_reported_name_to_the_bare_one_step_by_step() {
        let forms = forms("bedrock/us.anthropic.claude-opus-4-20250514-v1:0");
        let expected = [
            "bedrock/us.anthropic.claude-opus-4-20250514-v1:0",
            "us.anthropic.claude-opus-4-20250514-v1:0",
            "anthropic.claude-opus-4-20250514-v1:0",
            "claude-opus-4-20250514-v1:0",
            "claude-opus-4-20250514",
            "claude-opus-4",
        ];
        assert_eq!(forms.as_slice(), expected);
    }

    #[test]
    fn of_several_names_the_makers_own_and_the_newest_stand_for_the_model() {
        let mut names = [
            "azure/grok-4",
            "xai/grok-4-0709",
            "grok-4-0101",
            "xai/grok-4",
            "xai/grok-4-latest",
            "grok-4-0709",
            "grok-4",
        ];
        names.sort_by_key(|name| rank(name));
        let expected = [
            "grok-4",
            "grok-4-0709",
            "grok-4-0101",
            "xai/grok-4",
            "xai/grok-4-latest",
            "xai/grok-4-0709",
            "azure/grok-4",
        ];
        assert_eq!(names, expected);
    }
}
