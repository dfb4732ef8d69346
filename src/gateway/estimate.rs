//! How many tokens a prompt has, before anybody has counted them. Pure; it learns from what was settled.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;

use super::{
    measure::{Measured, Text},
    settings::Estimate,
};

/// Requests of a key to a model that must have been settled before its ratio is used.
const SAMPLES: f64 = 20.0;
/// Standard deviations above the mean that an estimate is: by Cantelli's inequality fewer than one in ten exceed it,
/// whatever the ratios are like.
const DEVIATIONS: f64 = 3.0;
/// How many requests count: with more, each new one still has this share.
const MOST_SAMPLES: f64 = 2_000.0;
/// Ratios of one generation: with as many new ones, those that were not used since the last one began are forgotten.
const GENERATION: usize = 32_768;
/// Bytes of a token that is likely, where nothing is learned: for English text.
const LIKELY_BYTES: u64 = 4;
/// Bytes of plain text for which at least one token is estimated, whatever was learned: prose has fewer.
const PLAIN_BYTES: u64 = 4;
/// The same for all other bytes, of which a token has fewer.
const OTHER_BYTES: u64 = 2;
/// Most tokens of an image. Anthropic's largest has 4,784; OpenAI's have 1,445 by tiles, and 3,779 by patches.
const IMAGE_TOKENS: u64 = 5_000;
/// Most tokens of an image for `gpt-4o-mini`: a base of 2,833, and eight tiles of 5,667.
const IMAGE_TOKENS_OF_MINI: u64 = 48_169;
/// Fewest tokens of an image: OpenAI's in low detail.
const LIKELY_IMAGE: u64 = 85;
/// Most tokens of a page: 3,000 of text by Anthropic's documentation, and the picture of it.
const PAGE_TOKENS: u64 = 5_000;
/// Tokens of a document that are likely: one page of text.
const LIKELY_DOCUMENT: u64 = 1_500;

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

/// Whose requests to which model.
type Whose = (Arc<str>, Arc<str>);

/// What was learned, per key and model: no key teaches what is held for another.
pub(super) struct Ratios {
    mode: Estimate,
    known: Mutex<Known>,
}

/// Ratios that were used lately, and those that were used before.
#[derive(Default)]
struct Known {
    now: HashMap<Whose, Ratio>,
    before: HashMap<Whose, Ratio>,
}

impl Known {
    fn get(&self, whose: &Whose) -> Option<Ratio> {
        self.now.get(whose).or_else(|| self.before.get(whose)).copied()
    }

    fn of(&mut self, whose: Whose) -> &mut Ratio {
        if self.now.len() >= GENERATION && !self.now.contains_key(&whose) {
            self.before = std::mem::take(&mut self.now);
        }
        let former = self.before.get(&whose).copied().unwrap_or_default();
        self.now.entry(whose).or_insert(former)
    }
}

/// Fewest tokens that are held for a text, whatever was learned.
fn floor(text: Text) -> u64 {
    text.plain.div_ceil(PLAIN_BYTES) + text.other.div_ceil(OTHER_BYTES)
}

fn image_tokens(model: &str) -> u64 {
    if model.contains("gpt-4o-mini") { IMAGE_TOKENS_OF_MINI } else { IMAGE_TOKENS }
}

impl Ratios {
    /// Nothing is learned yet.
    pub(super) fn new(mode: Estimate) -> Self {
        Self { mode, known: Mutex::default() }
    }

    /// The tokens of a prompt. `window`: most tokens of the model, by which media are bounded.
    pub(super) fn estimate(
        &self,
        key: &Arc<str>,
        model: &Arc<str>,
        measured: &Measured,
        window: Option<u64>,
    ) -> Estimated {
        let images = measured.images.saturating_mul(image_tokens(model));
        let pages = measured.pages.saturating_mul(PAGE_TOKENS);
        let media =
            images.saturating_add(pages).saturating_add(measured.audio).min(window.unwrap_or(u64::MAX));
        let likely_media = measured.images * LIKELY_IMAGE + measured.documents * LIKELY_DOCUMENT;
        let (text, likely_media) = (measured.text, likely_media.min(media));
        let bytes = text.bytes();
        let whose = (key.clone(), model.clone());
        let learned = self.known.lock().get(&whose).filter(|ratio| ratio.samples >= SAMPLES);
        let Some(ratio) = learned else {
            let reserved = bytes.saturating_add(media);
            return Estimated { reserved, likely: bytes / LIKELY_BYTES + likely_media };
        };
        let of = |ratio: f64| (ratio * bytes as f64).ceil() as u64;
        let upper = of(ratio.mean + DEVIATIONS * ratio.variance.sqrt()).max(floor(text)).min(bytes);
        let reserved = if self.mode == Estimate::Strict { bytes } else { upper };
        let likely = of(ratio.mean).min(reserved) + likely_media;
        Estimated { reserved: reserved.saturating_add(media), likely }
    }

    /// Learns from a request which had so many tokens. What has media, or more tokens than bytes, says nothing about
    /// text; and no request teaches less than the floor.
    pub(super) fn learn(&self, key: &Arc<str>, model: &Arc<str>, measured: &Measured, tokens: u64) {
        let text = measured.text;
        let bytes = text.bytes();
        if measured.has_media() || bytes == 0 || tokens > bytes {
            return;
        }
        let sample = tokens.max(floor(text)).min(bytes) as f64 / bytes as f64;
        let mut known = self.known.lock();
        let ratio = known.of((key.clone(), model.clone()));
        ratio.samples = (ratio.samples + 1.0).min(MOST_SAMPLES);
        let difference = sample - ratio.mean;
        let share = 1.0 / ratio.samples;
        ratio.mean += difference * share;
        ratio.variance = (1.0 - share) * (ratio.variance + share * difference * difference);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(plain: u64, other: u64) -> Measured {
        Measured { text: Text { plain, other }, ..Measured::default() }
    }

    fn of(ratios: &Ratios, key: &str, measured: &Measured) -> Estimated {
        ratios.estimate(&key.into(), &"m".into(), measured, None)
    }

    fn learn(ratios: &Ratios, key: &str, measured: &Measured, tokens: u64) {
        ratios.learn(&key.into(), &"m".into(), measured, tokens);
    }

    #[test]
    fn until_enough_is_learned_no_prompt_has_more_tokens_than_the_estimate() {
        let (ratios, prompt) = (Ratios::new(Estimate::Learned), text(900, 100));
        assert_eq!(of(&ratios, "k", &prompt), Estimated { reserved: 1_000, likely: 250 });
        for n in 0..19 {
            learn(&ratios, "k", &prompt, 280 + n % 3 * 10);
        }
        assert_eq!(of(&ratios, "k", &prompt).reserved, 1_000);
        learn(&ratios, "k", &prompt, 290);
        let learned = of(&ratios, "k", &prompt);
        assert!(
            (300..=330).contains(&learned.reserved) && (285..=295).contains(&learned.likely),
            "{learned:?}"
        );
        assert_eq!(of(&ratios, "another", &prompt).reserved, 1_000, "each key learns for itself");
        assert_eq!(ratios.estimate(&"k".into(), &"other".into(), &prompt, None).reserved, 1_000);
    }

    #[test]
    fn nothing_that_a_key_sends_teaches_less_than_a_token_for_four_plain_bytes_and_for_two_others() {
        let ratios = Ratios::new(Estimate::Learned);
        let padded = text(1_000_000, 0);
        (0..5_000).for_each(|_| learn(&ratios, "k", &padded, 1));
        assert_eq!(of(&ratios, "k", &text(200_000, 0)).reserved, 50_000);
        assert_eq!(of(&ratios, "k", &text(0, 60_000)).reserved, 30_000, "text of other scripts has more");
        let inline = Measured { images: 1, ..text(10, 0) };
        (0..5_000).for_each(|_| learn(&ratios, "k", &inline, 10));
        assert_eq!(
            of(&ratios, "k", &text(200_000, 0)).reserved,
            50_000,
            "who sends an image teaches nothing"
        );
    }

    #[test]
    fn what_has_more_tokens_than_bytes_was_not_all_in_the_request_and_teaches_nothing() {
        let (ratios, prompt) = (Ratios::new(Estimate::Learned), text(1_000, 0));
        for _ in 0..30 {
            learn(&ratios, "k", &prompt, 260);
            learn(&ratios, "k", &prompt, 100_000);
        }
        assert!(of(&ratios, "k", &prompt).reserved < 300);
    }

    #[test]
    fn media_have_a_bound_of_their_own_and_no_more_than_the_window() {
        let ratios = Ratios::new(Estimate::Strict);
        let images = Measured { images: 2, ..text(100, 0) };
        assert_eq!(of(&ratios, "k", &images), Estimated { reserved: 10_100, likely: 25 + 170 });
        let mini = ratios.estimate(&"k".into(), &"gpt-4o-mini".into(), &images, None);
        assert_eq!(mini.reserved, 100 + 2 * 48_169);
        let document = Measured { documents: 1, pages: 600, audio: 50, ..text(100, 0) };
        assert_eq!(of(&ratios, "k", &document).reserved, 600 * 5_000 + 150);
        let within = ratios.estimate(&"k".into(), &"m".into(), &document, Some(128_000));
        assert_eq!(within, Estimated { reserved: 128_100, likely: 1_525 });
    }

    #[test]
    fn ratios_that_are_used_are_kept_and_the_others_make_room() {
        let (ratios, prompt) = (Ratios::new(Estimate::Learned), text(1_000, 0));
        (0..20).for_each(|_| learn(&ratios, "k", &prompt, 260));
        (0..GENERATION + 10).for_each(|n| learn(&ratios, &format!("k{n}"), &prompt, 260));
        assert!(of(&ratios, "k", &prompt).reserved < 300, "it is still known");
        (0..GENERATION + 10).for_each(|n| learn(&ratios, &format!("l{n}"), &prompt, 260));
        assert_eq!(of(&ratios, "k", &prompt).reserved, 1_000);
        let known = ratios.known.lock();
        assert!(known.now.len() + known.before.len() <= 2 * GENERATION);
    }

    #[test]
    fn a_strict_estimate_stays_an_upper_bound() {
        let (ratios, prompt) = (Ratios::new(Estimate::Strict), text(1_000, 0));
        (0..100).for_each(|_| learn(&ratios, "k", &prompt, 300));
        assert_eq!(of(&ratios, "k", &prompt), Estimated { reserved: 1_000, likely: 300 });
    }
}
