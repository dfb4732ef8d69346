//! Keeps our secrets out of what we show of an answer, should it repeat the request.

use reqwest::{Url, header::HeaderMap};

/// Fewest bytes of a secret: shorter texts are no secrets, and would hide half of an answer.
pub const MIN_SECRET: usize = 8;

/// What must not come back to us by an answer that repeats the request: sensitive headers, every part of the URL that
/// is configured, and of what we add to it what looks like a secret.
pub(super) fn secrets_in(configured: &Url, url: &Url, headers: &HeaderMap) -> Vec<String> {
    let sensitive = headers.values().filter(|value| value.is_sensitive()).filter_map(|v| v.to_str().ok());
    let words = sensitive.flat_map(str::split_whitespace).map(str::to_owned);
    let added = url.path_segments().into_iter().flatten().filter(|s| s.bytes().any(|b| b.is_ascii_digit()));
    let segments = configured.path_segments().into_iter().flatten().chain(added);
    let query = url.query_pairs().map(|(_, value)| value.into_owned());
    let all = words.chain(segments.map(str::to_owned)).chain(query);
    all.filter(|secret| secret.len() >= MIN_SECRET).collect()
}

/// Puts `***` in place of every secret in `body`, in whatever case it is spelled.
pub(super) fn redact(secrets: &[String], body: &mut Vec<u8>) {
    for secret in secrets {
        // An answer may spell it in capitals. ASCII, so that places in both texts are the same.
        let (text, wanted) = (String::from_utf8_lossy(body), secret.to_ascii_lowercase());
        let lower = text.to_ascii_lowercase();
        let places: Vec<usize> = lower.match_indices(&wanted).map(|(place, _)| place).collect();
        if places.is_empty() {
            continue;
        }
        let (mut shown, mut done) = (String::with_capacity(text.len()), 0);
        for place in places {
            shown.push_str(&text[done..place]);
            shown.push_str("***");
            done = place + secret.len();
        }
        shown.push_str(&text[done..]);
        *body = shown.into_bytes();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_answer_repeats_of_our_secrets_is_hidden() {
        let configured = Url::parse("https://hooks.example/hooks/wordsecret?key=query-secret&a=b").unwrap();
        let url = configured.join("/hooks/wordsecret/answers/T0K3N12345?key=query-secret").unwrap();
        let mut headers = HeaderMap::new();
        let mut value = reqwest::header::HeaderValue::from_static("Bearer very-secret-7731");
        value.set_sensitive(true);
        headers.insert("authorization", value);
        let secrets = secrets_in(&configured, &url, &headers);
        let text = "B\u{e9}arer very-secret-7731 to /hooks/WORDSECRET/T0K3N12345?key=query-secret, /hooks/wordsecret";
        let mut body = text.as_bytes().to_vec();
        redact(&secrets, &mut body);
        assert_eq!(String::from_utf8(body).unwrap(), "B\u{e9}arer *** to /hooks/***/***?key=***, /hooks/***");
    }
}
