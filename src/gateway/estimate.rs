//! How many tokens a prompt has, before anybody has counted them. Pure; it learns from what was settled.

use std::{collections::HashMap, sync::Arc};

use memchr::memmem;
use parking_lot::Mutex;

use super::settings::Estimate;

/// Requests to a model that must have been settled before its ratio is used.
const SAMPLES: f64 = 20.0;
/// Standard deviations above the mean that an estimate is: by Cantelli's inequality fewer than one in ten exceed it,
/// whatever the ratios are like.
const DEVIATIONS: f64 = 3.0;
/// How many requests count: with more, each new one still has this share.
const MOST_SAMPLES: f64 = 2_000.0;
/// Models that are told apart.
const MODELS: usize = 1_000;
/// Bytes of a token that is likely, where nothing is learned: for English text.
const LIKELY_BYTES: u64 = 4;
/// Tokens of an image whose bytes are not in the request: more than a provider's largest tile plan needs for most.
const IMAGE_TOKENS: u64 = 2_000;

/// Mean and variance of tokens per byte.
#[derive(Debug, Clone, Copy, Default)]
struct Ratio {
    samples: f64,
    mean: f64,
    variance: f64,
}

/// An estimate of a prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Estimated {
    /// Tokens that are reserved.
    pub reserved: u64,
    /// Tokens that it likely has.
    pub likely: u64,
}

/// What was learned, per model.
pub(super) struct Ratios {
    mode: Estimate,
    models: Mutex<HashMap<Arc<str>, Ratio>>,
}

impl Ratios {
    /// Nothing is learned yet.
    pub(super) fn new(mode: Estimate) -> Self {
        Self { mode, models: Mutex::default() }
    }

    /// The tokens of a prompt of this many bytes, with this many images that are elsewhere.
    pub(super) fn estimate(&self, model: &str, bytes: usize, images: usize) -> Estimated {
        let (bytes, images) = (bytes as u64, images as u64 * IMAGE_TOKENS);
        let learned = self.models.lock().get(model).copied().filter(|ratio| ratio.samples >= SAMPLES);
        let Some(ratio) = learned else {
            return Estimated { reserved: bytes + images, likely: bytes / LIKELY_BYTES + images };
        };
        let upper = (ratio.mean + DEVIATIONS * ratio.variance.sqrt()).min(1.0);
        let of = |ratio: f64| (ratio * bytes as f64).ceil() as u64 + images;
        let reserved = if self.mode == Estimate::Strict { bytes + images } else { of(upper) };
        Estimated { reserved, likely: of(ratio.mean) }
    }

    /// Learns from a request of this many bytes, which had so many tokens.
    pub(super) fn learn(&self, model: &Arc<str>, bytes: usize, tokens: u64) {
        if bytes == 0 {
            return;
        }
        let mut models = self.models.lock();
        if models.len() >= MODELS && !models.contains_key(model) {
            return;
        }
        let ratio = models.entry(model.clone()).or_default();
        ratio.samples = (ratio.samples + 1.0).min(MOST_SAMPLES);
        let difference = tokens as f64 / bytes as f64 - ratio.mean;
        let share = 1.0 / ratio.samples;
        ratio.mean += difference * share;
        ratio.variance = (1.0 - share) * (ratio.variance + share * difference * difference);
    }
}

/// What is measured of a request before it leaves: once, since its body may be large.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Measured {
    /// Bytes of the body.
    pub bytes: usize,
    /// Images whose bytes are elsewhere: those named by an address or by a file's id.
    pub images: usize,
    /// Whether it says what of the prompt is to be written to a cache.
    pub marks_caches: bool,
}

impl Measured {
    /// Measures the body of a request.
    pub(super) fn of(body: &[u8]) -> Self {
        let count = |word: &str| memmem::find_iter(body, word).count();
        let images = count("\"image_url\"") + count("\"input_image\"") + count("\"file_id\"");
        Self {
            bytes: body.len(),
            images: images
                + memmem::find_iter(body, "\"type\"").filter(|at| is_image(&body[at + 6..])).count(),
            marks_caches: memmem::find(body, b"cache_control").is_some(),
        }
    }
}

/// Whether what follows the name of a member is the text `image`, with blanks or without.
fn is_image(rest: &[u8]) -> bool {
    let value = rest.trim_ascii_start().strip_prefix(b":").map(<[u8]>::trim_ascii_start);
    value.is_some_and(|value| value.starts_with(b"\"image\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn until_enough_is_learned_no_prompt_has_more_tokens_than_the_estimate() {
        let ratios = Ratios::new(Estimate::Learned);
        assert_eq!(ratios.estimate("m", 1_000, 0), Estimated { reserved: 1_000, likely: 250 });
        assert_eq!(ratios.estimate("m", 1_000, 2).reserved, 5_000);
        for n in 0..19 {
            ratios.learn(&"m".into(), 1_000, 240 + n % 3 * 10);
        }
        assert_eq!(ratios.estimate("m", 1_000, 0).reserved, 1_000);
        ratios.learn(&"m".into(), 1_000, 250);
        let learned = ratios.estimate("m", 1_000, 0);
        assert!(
            (260..=290).contains(&learned.reserved) && (245..=255).contains(&learned.likely),
            "{learned:?}"
        );
        assert_eq!(ratios.estimate("other", 1_000, 0).reserved, 1_000);
    }

    #[test]
    fn images_and_marks_of_caches_are_found_however_they_are_written() {
        let of = |body: &str| {
            let measured = Measured::of(body.as_bytes());
            (measured.images, measured.marks_caches)
        };
        assert_eq!(of(r#"{"type":"image","source":{"type":"url"}}"#), (1, false));
        assert_eq!(of("{\"type\" :\n \"image\", \"cache_control\": {}}"), (1, true));
        assert_eq!(of(r#"{"type":"image_url"},{"type":"input_image"},{"file_id":"f"}"#), (3, false));
        assert_eq!(of(r#"{"type":"text","text":"image"}"#), (0, false));
    }

    #[test]
    fn a_strict_estimate_stays_an_upper_bound() {
        let ratios = Ratios::new(Estimate::Strict);
        (0..100).for_each(|_| ratios.learn(&"m".into(), 1_000, 100));
        assert_eq!(ratios.estimate("m", 1_000, 0), Estimated { reserved: 1_000, likely: 100 });
    }
}
