//! Which of a model's deployments is asked, and which after it.
//!
//! AI Core counts requests a minute for each model and tenant, over all deployments and resource groups of it (dossier 7.2).
//! So a model's deployments stand in [`Lane`]s, one for each tenant: the turns go round the lanes first, then round the
//! deployments of a lane.
//!
//! What failed rests. A refusal that concerns the tenant (a rate limit, refused credentials) rests the lane, any other the
//! deployment alone. How long is what AI Core said, else random between nothing and a span that doubles with each failure in
//! a row ("full jitter": so that proxies and clients do not come back all at once). Then one request finds out whether it
//! serves again; until that is known the others keep away. What rests without having been told to is still asked where there
//! is nothing better; what AI Core told to wait is not. Where there is but one lane, it is asked all the same: the client
//! has been told, too, and it is its own business then, as with the vendor.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::config::Balance;
use crate::error::Error;

/// What the first failure rests for at most; it doubles with each that follows.
const REST_FIRST: Duration = Duration::from_secs(1);
const REST_MAX: Duration = Duration::from_secs(60);
/// The longest rest that AI Core is heeded in.
const TOLD_MAX: Duration = Duration::from_secs(3600);
/// How long the others wait for the one that finds out.
const TRIAL_MAX: Duration = Duration::from_secs(10);
const WINDOW_SECONDS: u64 = 60;

/// A model in one tenant: what AI Core counts together.
#[derive(Debug, Default)]
pub struct Lane {
    pub health: Health,
    minute: Mutex<Minute>,
    /// Requests a minute; 0 where it is not known.
    limit: AtomicU32,
}

/// Whether something that failed may be asked again.
#[derive(Debug, Default)]
pub struct Health {
    state: Mutex<State>,
    has_failed: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    /// In a row.
    failures: u32,
    failed_at: Option<Instant>,
    until: Option<Instant>,
    is_told: bool,
    /// Somebody is finding out since.
    tried_at: Option<Instant>,
    error: Option<Error>,
}

/// How fit something is to be asked, the fittest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fitness {
    Ready,
    /// Its requests of this minute are used up.
    Full,
    /// It failed lately.
    Rests,
    /// AI Core said when to come back.
    Barred,
}

/// A model's deployments in their lanes.
#[derive(Debug)]
pub struct Lanes {
    balance: Balance,
    rows: Vec<Row>,
    /// What each row is owed, for turns by weight.
    credits: Mutex<Vec<i64>>,
}

#[derive(Debug)]
struct Row {
    lane: Arc<Lane>,
    weight: u32,
    /// By their number among all.
    members: Vec<(usize, Arc<Health>)>,
    next: AtomicUsize,
}

/// A deployment that is put into lanes.
#[derive(Debug)]
pub struct Member {
    pub lane: Arc<Lane>,
    /// Of its lane; the first member's counts.
    pub weight: u32,
    pub health: Arc<Health>,
}

impl Lanes {
    /// Deployments are known by their place in `members` from now on.
    pub fn new(balance: Balance, members: impl IntoIterator<Item = Member>) -> Lanes {
        let mut rows: Vec<Row> = vec![];
        for (number, member) in members.into_iter().enumerate() {
            match rows.iter_mut().find(|row| Arc::ptr_eq(&row.lane, &member.lane)) {
                Some(row) => row.members.push((number, member.health)),
                None => rows.push(Row {
                    lane: member.lane,
                    weight: member.weight,
                    members: vec![(number, member.health)],
                    next: AtomicUsize::new(0),
                }),
            }
        }
        let credits = Mutex::new(vec![0; rows.len()]);
        Lanes { balance, rows, credits }
    }

    /// The deployments in the order in which to try them, without those that AI Core told to wait for. `preferred` has the
    /// first place as long as it is ready, and takes nobody's turn.
    pub fn order(&self, preferred: Option<usize>, now: Instant) -> Vec<usize> {
        if let [Row { members, .. }] = self.rows.as_slice()
            && let [(number, _)] = members.as_slice()
        {
            return vec![*number];
        }
        let rows: Vec<Vec<Fitness>> = self.rows.iter().map(|row| row.fitness(now)).collect();
        let preferred = preferred.and_then(|number| self.place_of(number));
        let preferred = preferred.filter(|(row, at)| rows[*row][*at] == Fitness::Ready);
        let first = match (preferred, self.balance) {
            (Some((row, _)), Balance::RoundRobin) => row,
            _ => self.first(&rows),
        };
        let mut places = vec![];
        for (index, row) in self.rows.iter().enumerate() {
            let rank = (index + rows.len() - first) % rows.len();
            let rank = if self.balance == Balance::Fallback { index } else { rank };
            let start = match preferred {
                Some((preferred, at)) if preferred == index => at,
                _ if index == first => row.next.fetch_add(1, Ordering::Relaxed),
                _ => row.next.load(Ordering::Relaxed),
            };
            // Those that are fit take their turns among themselves.
            let mut ring: Vec<usize> = (0..row.members.len()).collect();
            ring.sort_by_key(|at| rows[index][*at]);
            let fit = ring.iter().filter(|at| rows[index][**at] == rows[index][ring[0]]).count();
            match preferred {
                Some((preferred, at)) if preferred == index => ring.sort_by_key(|a| *a != at),
                _ => ring[..fit].rotate_left(start % fit.max(1)),
            }
            for (round, at) in ring.into_iter().enumerate() {
                places.push((rows[index][at], round, rank, row.members[at].0));
            }
        }
        places.sort_unstable();
        let can_choose = rows.len() > 1 || places.iter().any(|place| place.0 < Fitness::Barred);
        places.retain(|place| !can_choose || place.0 < Fitness::Barred);
        places.into_iter().map(|place| place.3).collect()
    }

    /// When the first of those that were told to wait may be asked again, and what AI Core had said.
    pub fn soonest(&self, now: Instant) -> Option<(Duration, Error)> {
        let waits = self.rows.iter().flat_map(|row| {
            row.members.iter().filter_map(move |(_, health)| {
                [row.lane.health.barred(now), health.barred(now)]
                    .into_iter()
                    .flatten()
                    .max_by_key(|barred| barred.0)
            })
        });
        waits.min_by_key(|barred| barred.0)
    }

    /// In how long the first of them has rested, told or not; `None` where one is ready now.
    pub fn rest(&self, now: Instant) -> Option<Duration> {
        let rests = self.rows.iter().flat_map(|row| {
            let lane = row.lane.health.rest(now);
            row.members.iter().map(move |(_, health)| lane.max(health.rest(now)))
        });
        rests.min().flatten()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.rows.iter().map(|row| row.members.len()).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The row whose turn it is among the fittest.
    fn first(&self, rows: &[Vec<Fitness>]) -> usize {
        let best = |row: &Vec<Fitness>| row.iter().min().copied().unwrap_or(Fitness::Barred);
        let fittest = rows.iter().map(best).min().unwrap_or(Fitness::Barred);
        let eligible = || (0..rows.len()).filter(|row| best(&rows[*row]) == fittest);
        if self.balance == Balance::Fallback {
            return eligible().next().unwrap_or(0);
        }
        // Each is owed its weight, and who is owed most pays for all ("smooth" turns: a b a c a, not a a a b c).
        let mut credits = self.credits.lock().unwrap_or_else(PoisonError::into_inner);
        let sum: i64 = eligible().map(|row| i64::from(self.rows[row].weight)).sum();
        eligible().for_each(|row| credits[row] += i64::from(self.rows[row].weight));
        let first = eligible().max_by_key(|row| (credits[*row], std::cmp::Reverse(*row)));
        let first = first.unwrap_or(0);
        if let Some(credit) = credits.get_mut(first) {
            *credit -= sum;
        }
        first
    }

    fn place_of(&self, number: usize) -> Option<(usize, usize)> {
        self.rows.iter().enumerate().find_map(|(index, row)| {
            Some((index, row.members.iter().position(|(n, _)| *n == number)?))
        })
    }
}

impl Row {
    fn fitness(&self, now: Instant) -> Vec<Fitness> {
        let lane = self.lane.fitness(now);
        self.members.iter().map(|(_, health)| lane.max(health.fitness(now))).collect()
    }
}

impl Lane {
    /// A request is sent.
    pub fn count(&self, now: Instant) {
        self.minute().count(now);
    }

    /// How many a minute AI Core allows; `None` where it does not say.
    pub fn limit(&self, per_minute: Option<u32>) {
        self.limit.store(per_minute.unwrap_or(0), Ordering::Relaxed);
    }

    fn fitness(&self, now: Instant) -> Fitness {
        let limit = self.limit.load(Ordering::Relaxed);
        let is_full = limit > 0 && self.minute().sum(now) >= limit;
        self.health.fitness(now).max(if is_full { Fitness::Full } else { Fitness::Ready })
    }

    fn minute(&self) -> MutexGuard<'_, Minute> {
        self.minute.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Health {
    pub fn fitness(&self, now: Instant) -> Fitness {
        if !self.has_failed.load(Ordering::Relaxed) {
            return Fitness::Ready;
        }
        let state = self.state();
        let is_tried = |at: Instant| now.saturating_duration_since(at) < TRIAL_MAX;
        match state.until {
            Some(until) if now < until && state.is_told => Fitness::Barred,
            Some(until) if now < until || state.tried_at.is_some_and(is_tried) => Fitness::Rests,
            _ => Fitness::Ready,
        }
    }

    /// It is asked: where it had failed, the others wait for what comes of it. Whether it had.
    pub fn begin(&self, now: Instant) -> bool {
        let has_failed = self.has_failed.load(Ordering::Relaxed);
        if has_failed {
            let mut state = self.state();
            if state.until.is_some_and(|until| now >= until) {
                state.tried_at = Some(now);
            }
        }
        has_failed
    }

    /// It failed: how long it rests. `None`: it rests already, for what failed at the same time.
    pub fn failed(&self, error: &Error, told: Option<Duration>, now: Instant) -> Option<Duration> {
        self.failed_by(error, told, now, fraction())
    }

    fn failed_by(
        &self,
        error: &Error,
        told: Option<Duration>,
        now: Instant,
        fraction: f64,
    ) -> Option<Duration> {
        let mut state = self.state();
        self.has_failed.store(true, Ordering::Relaxed);
        state.tried_at = None;
        state.failed_at = Some(now);
        let told = told.map(|told| told.min(TOLD_MAX));
        let rests_already = state.until.is_some_and(|until| now < until);
        if rests_already && (told.is_none() || told.map(|t| now + t) <= state.until) {
            // That AI Core said so counts, however long it had been resting for.
            state.is_told |= told.is_some();
            return None;
        }
        if !rests_already {
            state.failures = state.failures.saturating_add(1);
        }
        let doubled = 2_u32.saturating_pow(state.failures.saturating_sub(1));
        let rest = REST_FIRST.saturating_mul(doubled).min(REST_MAX).mul_f64(fraction);
        let rest = told.unwrap_or(rest);
        state.until = Some(now + rest);
        state.is_told = told.is_some();
        state.error = Some(error.clone());
        Some(rest)
    }

    /// It served what was asked of it at `began`. Whether it had failed before.
    pub fn succeeded(&self, began: Instant) -> bool {
        if !self.has_failed.load(Ordering::Relaxed) {
            return false;
        }
        let mut state = self.state();
        // What began before it failed says nothing of how it is now.
        if state.failed_at.is_some_and(|failed| began < failed) {
            return false;
        }
        *state = State::default();
        self.has_failed.store(false, Ordering::Relaxed);
        true
    }

    /// It was asked, and nobody knows what would have come of it.
    pub fn left(&self) {
        if self.has_failed.load(Ordering::Relaxed) {
            self.state().tried_at = None;
        }
    }

    fn barred(&self, now: Instant) -> Option<(Duration, Error)> {
        if self.fitness(now) != Fitness::Barred {
            return None;
        }
        let state = self.state();
        Some((state.until?.saturating_duration_since(now), state.error.clone()?))
    }

    fn rest(&self, now: Instant) -> Option<Duration> {
        let until = self.state().until?;
        (now < until).then(|| until - now)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Requests of the last minute, counted by the second: never fewer than there were.
#[derive(Debug)]
struct Minute {
    since: Instant,
    second: u64,
    counts: [u32; WINDOW_SECONDS as usize + 1],
    sum: u32,
}

impl Minute {
    fn count(&mut self, now: Instant) {
        self.forget(now);
        let at = self.second as usize % self.counts.len();
        self.counts[at] = self.counts[at].saturating_add(1);
        self.sum = self.sum.saturating_add(1);
    }

    fn sum(&mut self, now: Instant) -> u32 {
        self.forget(now);
        self.sum
    }

    fn forget(&mut self, now: Instant) {
        let second = now.saturating_duration_since(self.since).as_secs().max(self.second);
        let length = self.counts.len() as u64;
        for past in self.second + 1..=second.min(self.second + length) {
            let count = std::mem::take(&mut self.counts[(past % length) as usize]);
            self.sum = self.sum.saturating_sub(count);
        }
        self.second = second;
    }
}

impl Default for Minute {
    fn default() -> Minute {
        let counts = [0; WINDOW_SECONDS as usize + 1];
        Minute { since: Instant::now(), second: 0, counts, sum: 0 }
    }
}

/// Random, from 0 to 1.
fn fraction() -> f64 {
    RandomState::new().hash_one(0) as f64 / u64::MAX as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn error() -> Error {
        Error::Unreachable { what: "down".into() }
    }

    /// Lanes of so many deployments each, with these weights.
    fn lanes(balance: Balance, shape: &[(usize, u32)]) -> Lanes {
        let members = shape.iter().flat_map(|(count, weight)| {
            let lane = Arc::new(Lane::default());
            (0..*count).map(move |_| Member {
                lane: lane.clone(),
                weight: *weight,
                health: Arc::default(),
            })
        });
        Lanes::new(balance, members)
    }

    fn firsts(lanes: &Lanes, count: usize, now: Instant) -> Vec<usize> {
        (0..count).map(|_| lanes.order(None, now)[0]).collect()
    }

    fn health(lanes: &Lanes, number: usize) -> &Health {
        let (row, at) = lanes.place_of(number).unwrap();
        &lanes.rows[row].members[at].1
    }

    #[test]
    fn turns_go_round_the_lanes_first_and_then_round_their_deployments() {
        let now = Instant::now();
        type Shape = [(usize, u32)];
        let table: [(&Shape, &[usize]); 4] = [
            (&[(1, 1)], &[0, 0, 0]),
            (&[(3, 1)], &[0, 1, 2, 0, 1, 2]),
            (&[(2, 1), (1, 1), (1, 1)], &[0, 2, 3, 1, 2, 3, 0]),
            (&[(1, 3), (1, 1), (1, 1)], &[0, 1, 0, 2, 0, 0, 1, 0, 2, 0]),
        ];
        for (shape, expected) in table {
            let lanes = lanes(Balance::RoundRobin, shape);
            assert_eq!(firsts(&lanes, expected.len(), now), expected, "{shape:?}");
        }
        let lanes = lanes(Balance::RoundRobin, &[(2, 1), (2, 1)]);
        assert_eq!(lanes.order(None, now), [0, 2, 1, 3], "another tenant is next");
        assert_eq!(lanes.order(None, now), [2, 1, 3, 0], "0 has had its turn");
    }

    #[test]
    fn in_fallback_order_the_first_serves_while_it_can() {
        let now = Instant::now();
        let lanes = lanes(Balance::Fallback, &[(2, 1), (1, 9)]);
        assert_eq!(firsts(&lanes, 4, now), [0, 1, 0, 1]);
        assert_eq!(lanes.order(Some(2), now)[0], 0, "what stuck to another comes back");
        assert_eq!(lanes.order(Some(1), now)[0], 1, "but sticks within its lane");
        lanes.rows[0].lane.health.failed_by(&error(), None, now, 1.0);
        assert_eq!(lanes.order(None, now)[0], 2);
        assert_eq!(firsts(&lanes, 2, now + SECOND), [1, 0], "it has rested");
    }

    #[test]
    fn who_rests_comes_last_and_leaves_its_turns_to_all_others() {
        let now = Instant::now();
        let lanes = lanes(Balance::RoundRobin, &[(1, 1), (1, 1), (1, 1)]);
        assert_eq!(health(&lanes, 1).failed_by(&error(), None, now, 1.0), Some(SECOND));
        assert_eq!(firsts(&lanes, 6, now), [0, 2, 0, 2, 0, 2]);
        assert_eq!(lanes.order(None, now)[2], 1, "as a last resort");
        assert_eq!(lanes.rest(now), None);
        for number in [0, 2] {
            health(&lanes, number).failed_by(&error(), Some(9 * SECOND), now, 1.0);
        }
        assert_eq!(lanes.order(None, now), [1], "who was told to wait is not asked");
        assert_eq!(lanes.rest(now), Some(SECOND));
        health(&lanes, 1).failed_by(&error(), Some(5 * SECOND), now, 1.0);
        assert_eq!(lanes.order(None, now), [0; 0]);
        assert_eq!(lanes.soonest(now), Some((5 * SECOND, error())));
        assert_eq!(lanes.order(None, now + 5 * SECOND), [1]);
    }

    #[test]
    fn a_lane_rests_with_all_its_deployments() {
        let now = Instant::now();
        let lanes = lanes(Balance::RoundRobin, &[(2, 1), (1, 1)]);
        lanes.rows[0].lane.health.failed_by(&error(), Some(SECOND), now, 1.0);
        assert_eq!(lanes.order(None, now), [2]);
        assert_eq!(lanes.order(Some(0), now), [2], "whatever is preferred");
        health(&lanes, 2).failed_by(&error(), None, now, 1.0);
        assert_eq!(lanes.order(Some(2), now), [2]);
        let single = self::lanes(Balance::RoundRobin, &[(1, 1)]);
        health(&single, 0).failed_by(&error(), None, now, 1.0);
        assert_eq!(single.order(None, now), [0]);
        health(&single, 0).failed_by(&error(), Some(SECOND), now, 1.0);
        assert_eq!(single.order(None, now), [0], "a lane of its own is the client's business");
        let double = self::lanes(Balance::RoundRobin, &[(2, 1)]);
        health(&double, 0).failed_by(&error(), Some(SECOND), now, 1.0);
        assert_eq!(double.order(None, now), [1]);
        double.rows[0].lane.health.failed_by(&error(), Some(SECOND), now, 1.0);
        assert_eq!(double.order(Some(0), now).len(), 2);
    }

    #[test]
    fn rest_doubles_and_one_finds_out_whether_it_is_over() {
        let start = Instant::now();
        let health = Health::default();
        let mut now = start;
        for expected in [1, 2, 4, 8, 16, 32, 60, 60] {
            let rest = health.failed_by(&error(), None, now, 1.0);
            assert_eq!(rest, Some(expected * SECOND));
            assert_eq!(health.failed_by(&error(), None, now, 1.0), None, "at the same time");
            assert_eq!(health.fitness(now), Fitness::Rests);
            now += expected * SECOND;
            assert_eq!(health.fitness(now), Fitness::Ready);
            health.begin(now);
            assert_eq!(health.fitness(now), Fitness::Rests, "one finds out");
            assert_eq!(health.fitness(now + TRIAL_MAX), Fitness::Ready, "but not for ever");
        }
        health.left();
        assert_eq!(health.fitness(now), Fitness::Ready, "it is not known: another finds out");
        assert!(!health.succeeded(start - SECOND), "what began before says nothing");
        assert!(health.succeeded(now));
        assert_eq!(health.failed_by(&error(), None, now, 0.5), Some(SECOND / 2), "from the start");
        let told = |seconds| health.failed_by(&error(), Some(seconds * SECOND), now, 1.0);
        assert_eq!(told(7), Some(7 * SECOND));
        assert_eq!(told(3), None, "the longer one counts");
        assert_eq!(told(9999), Some(TOLD_MAX));
    }

    #[test]
    fn jitter_is_full() {
        let fractions: Vec<f64> = (0..1000).map(|_| fraction()).collect();
        assert!(fractions.iter().all(|f| (0.0..=1.0).contains(f)));
        for tenth in 0..10 {
            let from = f64::from(tenth) / 10.0;
            assert!(fractions.iter().any(|f| (from..from + 0.1).contains(f)), "{from}");
        }
    }

    #[test]
    fn who_is_full_is_asked_after_those_who_are_not() {
        let start = Instant::now();
        let lanes = lanes(Balance::RoundRobin, &[(1, 1), (1, 1)]);
        lanes.rows[0].lane.limit(Some(3));
        let now = start + SECOND;
        for _ in 0..3 {
            assert_eq!(lanes.rows[0].lane.fitness(now), Fitness::Ready);
            lanes.rows[0].lane.count(now);
        }
        assert_eq!(firsts(&lanes, 3, now), [1, 1, 1]);
        assert_eq!(lanes.order(Some(0), now), [1, 0]);
        health(&lanes, 1).failed_by(&error(), None, now, 1.0);
        assert_eq!(lanes.order(None, now), [0, 1], "better than what failed");
        assert_eq!(lanes.rows[0].lane.fitness(now + 59 * SECOND), Fitness::Full);
        assert_eq!(lanes.rows[0].lane.fitness(now + 62 * SECOND), Fitness::Ready);
        lanes.rows[0].lane.limit(None);
        assert_eq!(lanes.rows[0].lane.fitness(now), Fitness::Ready);
    }

    #[test]
    fn a_minute_slides() {
        let mut minute = Minute::default();
        let at = |seconds| minute.since + seconds * SECOND;
        let times: Vec<Instant> = [0, 10, 10, 59, 60, 61, 70, 71, 500].map(at).to_vec();
        let sums: Vec<u32> = times
            .into_iter()
            .map(|now| {
                minute.count(now);
                minute.sum(now)
            })
            .collect();
        assert_eq!(sums, [1, 2, 3, 4, 5, 5, 6, 5, 1]);
    }
}
