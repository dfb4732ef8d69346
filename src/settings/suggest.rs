//! What was probably meant by a name or a value that there is not.

/// More slips of the pen than this make another word (Damerau-Levenshtein distance).
const MAX_DISTANCE: usize = 3;

/// The known word that is most like `text`, if one is like it: at most three slips away, and no more than half
/// of its letters.
pub fn nearest<'k>(text: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let distances = known.into_iter().map(|known| (strsim::damerau_levenshtein(text, known), known));
    let (distance, nearest) = distances.min()?;
    let is_alike = distance <= MAX_DISTANCE && distance * 2 <= nearest.chars().count();
    is_alike.then_some(nearest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_alike_is_suggested() {
        assert_eq!(nearest("tsl", ["udp", "tcp", "tls"]), Some("tls"));
        assert_eq!(nearest("webhok", ["webhook", "splunk"]), Some("webhook"));
        assert_eq!(nearest("gssapi", ["plain", "scram-sha-256"]), None);
        assert_eq!(nearest("x", ["url"]), None);
    }
}
