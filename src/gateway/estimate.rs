//! How many tokens a prompt has, before anybody has counted them. Pure; it learns from what was settled.

use std::{collections::HashMap, sync::Arc};

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

/// Images of a request whose bytes are elsewhere: those named by an address or by a file's id.
pub(super) fn images(body: &[u8]) -> usize {
    let count = |word: &str| memchr::memmem::find_iter(body, word).count();
    count("\"image_url\"") + count("\"input_image\"") + count("\"file_id\"") + count("\"type\":\"image\"")
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
    fn a_strict_estimate_stays_an_upper_bound() {
        let ratios = Ratios::new(Estimate::Strict);
        (0..100).for_each(|_| ratios.learn(&"m".into(), 1_000, 100));
        assert_eq!(ratios.estimate("m", 1_000, 0), Estimated { reserved: 1_000, likely: 100 });
    }
}
