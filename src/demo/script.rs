//! What happens while somebody watches: the next hour of everybody's life and the attacks, pressed into a minute.

use std::time::Duration;

use super::{BATCH, Cast, Player, end_of_past, span};
use crate::{
    domain::{Millis, profile::client_family},
    simulate::{Labelled, WireRecord, attacks::Victim, persona::Persona, random::Random},
};

/// Rightful requests of a key in the play: few, as an hour's worth in a minute must not look like a burst.
const OWN_REQUESTS: usize = 8;
/// ... of which the holder makes at least so many, even if they sleep just now.
const LEAST_REQUESTS: usize = 3;
/// Tokens of a key's rightful requests in the play, well below what a minute may hold.
const OWN_TOKENS: u64 = 25_000;
/// Requests of one attack in the play.
const ATTACK_REQUESTS: usize = 60;
/// Lives of the first attack drawn until one fits.
const TRIES: u32 = 50;
/// What the key asks whose budget is used up: so many requests, each a cent's worth of the model.
const BATCH_REQUESTS: usize = 6;
const BATCH_MODEL: &str = "gpt-4.1";
const BATCH_TOKENS: [u64; 2] = [2_000, 500];
/// The part of the play in which it asks.
const BATCH_TIMES: (f64, f64) = (0.3, 0.8);
/// The part of the play before the first attack and the part in which the last one begins.
const FIRST_ATTACK: f64 = 0.10;
const LAST_ATTACK: f64 = 0.84;
/// How much of the play an attack takes.
const ATTACK_LENGTH: f64 = 0.14;

/// A request and when it is made, after the start of the play.
pub struct Cue {
    /// How long after the start it is made.
    pub after: Duration,
    /// The request and the truth about it. Its time is in milliseconds after the start.
    pub labelled: Labelled,
    /// The name of the key, or of the service that was called where nobody's key was used.
    pub name: &'static str,
}

/// Everything that happens, in order. Keys in `suspects` do not take part.
pub fn script(
    cast: &Cast,
    seed: u64,
    now: Millis,
    length: Duration,
    suspects: impl Fn(&str) -> bool,
) -> Vec<Cue> {
    let root = Random::new(seed).part("script", 0);
    // The first key is for whoever watches: what they do with it is none of the play's.
    let players = cast.players.iter().skip(1).filter(|player| !suspects(player.role.name));
    let players: Vec<&Player> = players.collect();
    let attacks = players.iter().filter(|player| player.attack.is_some()).count();
    let mut script = Script { length: length.as_millis() as f64, cues: Vec::new(), keys: 0, attacks: 0 };
    script.play_batch(players.iter().find(|player| player.role.archetype == "service"));
    for player in players {
        let begins = (LAST_ATTACK - FIRST_ATTACK) * f64::from(script.attacks) / attacks.max(1) as f64;
        script.play(player, &mut root.part(player.role.name, 1), now, FIRST_ATTACK + begins);
    }
    script.cues.sort_by_key(|cue| cue.after);
    for (cue, id) in script.cues.iter_mut().zip(1..) {
        cue.labelled.record.request_id = id;
    }
    script.cues
}

struct Script {
    /// How long the play is, in milliseconds.
    length: f64,
    cues: Vec<Cue>,
    keys: u32,
    attacks: u32,
}

impl Script {
    fn play(&mut self, player: &Player, random: &mut Random, now: Millis, begins: f64) {
        let strike = player.attack.map(|attack| {
            let life = &player.life;
            let victim = Victim::new(life.persona.clone(), life.records.clone(), span(now));
            let mut draw = |_| (attack.strike)(random, &victim);
            // The first attack is the one that people look at: a thief who does not even take the victim's client.
            let fits = |records: &Vec<WireRecord>| self.attacks > 0 || !is_disguised(records, &life.persona);
            let mut records = (0..TRIES).map(&mut draw).find(fits).unwrap_or_default();
            records.sort_by_key(|record| record.timestamp);
            (attack.name, thinned(records))
        });
        let harmed = strike
            .as_ref()
            .is_some_and(|(_, records)| records.iter().any(|record| record.is_of(&player.life.persona.key)));
        // A holder whose key is taken is seen at work before.
        let until = if harmed { begins } else { 0.97 };
        let own = own_requests(player, random, now);
        // One after the other, so that people can follow.
        let from = 0.01 + 0.004 * f64::from(self.keys);
        self.add(player, own, (from, until), None, harmed);
        if let Some((name, records)) = strike {
            // Stuffing falls on nobody's key: the service that it calls stays in peace.
            self.keys += u32::from(!harmed);
            self.add(player, records, (begins, begins + ATTACK_LENGTH), Some(name), true);
            self.attacks += 1;
        }
        self.keys += 1;
    }

    /// A key beside the others, from where one of them is, that asks until its budget is used up and goes on asking.
    fn play_batch(&mut self, neighbour: Option<&&Player>) {
        let Some((neighbour, like)) =
            neighbour.and_then(|player| Some((player, player.life.records.last()?)))
        else {
            return;
        };
        let [prompt_tokens, completion_tokens] = BATCH_TOKENS;
        let record = WireRecord {
            key_id: Some(BATCH.into()),
            model: Some(BATCH_MODEL.into()),
            tokens_used: prompt_tokens + completion_tokens,
            prompt_tokens,
            completion_tokens,
            cost_usd: None,
            response_status: 200,
            ..like.clone()
        };
        let from = self.cues.len();
        self.add(neighbour, vec![record; BATCH_REQUESTS], BATCH_TIMES, None, false);
        self.cues[from..].iter_mut().for_each(|cue| cue.name = BATCH);
        self.keys += 1;
    }

    /// Spreads requests evenly from one part of the play to another.
    fn add(
        &mut self,
        player: &Player,
        records: Vec<WireRecord>,
        (from, to): (f64, f64),
        label: Option<&'static str>,
        attacked: bool,
    ) {
        let count = records.len().max(1) as f64;
        for (index, record) in records.into_iter().enumerate() {
            let time = (from + (to - from) * index as f64 / count) * self.length;
            let labelled = Labelled {
                time: time as Millis,
                record,
                label,
                attack_id: label.map(|_| self.attacks),
                archetype: player.role.archetype,
                key: self.keys,
                attacked,
            };
            let after = Duration::from_millis(time as u64);
            self.cues.push(Cue { after, labelled, name: player.role.name });
        }
    }
}

/// Whether any request comes from a client that the holder has, in whatever version.
fn is_disguised(records: &[WireRecord], holder: &Persona) -> bool {
    let own = |client: &str| {
        holder.clients.iter().any(|(own, _)| client_family(Some(own)) == client_family(Some(client)))
    };
    records.iter().any(|record| own(&record.user_agent))
}

/// Every so many-th request, so that the shape of a long attack stays.
fn thinned(records: Vec<WireRecord>) -> Vec<WireRecord> {
    let step = records.len().div_ceil(ATTACK_REQUESTS).max(1);
    records.into_iter().step_by(step).collect()
}

/// What the holder does in the next hour; if that is little, some requests like the others from where they were last.
fn own_requests(player: &Player, random: &mut Random, now: Millis) -> Vec<WireRecord> {
    let life = &player.life;
    let next = life.records.iter().filter(|record| record.timestamp >= end_of_past(now));
    let mut own: Vec<WireRecord> = next.take(OWN_REQUESTS).cloned().collect();
    let last = life.records.iter().rfind(|record| record.timestamp < end_of_past(now));
    if let Some(last) = last {
        while own.len() < LEAST_REQUESTS {
            own.push(life.persona.request(random, now, last.source_ip));
        }
    }
    let mut tokens = 0;
    own.retain(|record| {
        tokens += record.tokens_used;
        tokens <= OWN_TOKENS
    });
    own
}
