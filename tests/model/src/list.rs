//! The list of revocations: a stream in the store, followed by two replicas.
//!
//! Somebody revokes at one of the replicas, and is told that it is done when the store
//! has said so. A follower reads the stream from its beginning, page by page, and then
//! goes on behind the last entry that it has read: a page has one entry here. Where a
//! page cannot be read, or its connection breaks, it is not whole. Entries are numbered
//! by the clock of the node that takes them, and never below the last one that this node
//! knows.

use stateright::{Model, Property};

use crate::store::{Data, Event, Failover, Faults, Node, Store};

/// So many replicas follow.
pub const FOLLOWERS: usize = 2;

/// How the service could be written wrongly, or was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mistake {
    /// As it is.
    #[default]
    None,
    /// Who revokes is told so before the store has it.
    AnswersBeforeItIsWritten,
    /// After an error the follower goes on at the end of the stream.
    GoesOnAtTheEnd,
    /// After an error it goes on where it stood, whoever answers now.
    GoesOnWhereItStood,
    /// It takes no notice of another master, and begins anew after an error, unless it
    /// was not whole by then: as it was once.
    GoesOnMidway,
    /// It takes no notice of another master, and begins anew after every error.
    AsksByNumberAlone,
    /// A replica that starts lets people in before its list is whole.
    TrustsAnEmptyList,
}

/// The model.
#[derive(Clone, Copy, Debug, Default)]
pub struct List {
    /// What the store suffers.
    pub faults: Faults,
    /// A mistake to find.
    pub mistake: Mistake,
    /// So many are revoked; at most 3.
    pub revoked: usize,
    /// The last second that comes.
    pub seconds: u8,
    /// So many times a replica starts anew.
    pub restarts: u8,
    /// Whether clients try again that were not answered.
    pub retries: bool,
}

/// A number of an entry: its second, and its place in that.
type Number = (u8, u8);

/// The stream, and the last number that was given, or heard of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Stream {
    entries: Vec<(Number, u8)>,
}

impl Data for Stream {
    type Change = (Number, u8);

    fn apply(&mut self, change: &Self::Change) {
        self.entries.push(*change);
    }
}

impl Stream {
    fn holds(&self, what: u8) -> bool {
        self.entries.iter().any(|(_, held)| *held == what)
    }

    fn next_number(&self, clock: u8) -> Number {
        match self.entries.last() {
            Some(((second, place), _)) if *second >= clock => (*second, place + 1),
            _ => (clock, 0),
        }
    }
}

/// How far a revocation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Revoking {
    /// Not begun.
    Idle,
    /// On its way to the store, and told to be done: one of the mistakes.
    Asked,
    /// Written; the answer is on its way.
    Written,
    /// 200.
    Done,
    /// 503, though it is written; the client may try again, once.
    Failed,
}

/// A replica.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Follower {
    /// Whom it refuses, a bit for each.
    list: u8,
    /// Whether the list was whole when the store was last asked. Before it has been once,
    /// a replica lets nobody in.
    whole: bool,
    /// Where it stands, and in which history.
    cursor: Option<Number>,
    history: u8,
    /// Whether its connection is to the former master.
    at_former: bool,
    /// Whether its connection has broken without its knowledge.
    broken: bool,
}

/// What there is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    store: Store<Stream>,
    now: u8,
    revoking: [Revoking; 3],
    retried: u8,
    followers: [Follower; FOLLOWERS],
    restarts: u8,
    /// What was said to be done, a bit for each.
    done: u8,
    /// What of it was lost by a failover.
    lost: u8,
    /// Whether a replica lets in what was said to be revoked before it read to the end.
    missed: bool,
    /// Whether that was not lost.
    missed_what_stays: bool,
}

/// What happens next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    Store(Event),
    Tick,
    Revoke(usize),
    Write(usize),
    Answer(usize),
    Fail(usize),
    Read(usize),
    Restart(usize),
}

impl List {
    fn node(state: &State, follower: usize) -> Option<Node> {
        let is_at_former = state.followers[follower].at_former && state.store.former.is_some();
        if is_at_former {
            return Some(Node::Former);
        }
        state.store.answers.then_some(Node::Master)
    }

    fn happen(state: &mut State, event: Event) {
        state.store.happen(event);
        match event {
            Event::FailOver(how) => {
                for follower in &mut state.followers {
                    follower.broken |= how == Failover::Crash;
                    follower.at_former = false;
                }
                // Somebody's connection stays where it was.
                state.followers[1].at_former = how == Failover::Split;
            }
            // A redirection from then on.
            Event::StepDown => state.followers[1].at_former = false,
            _ => {}
        }
        Self::note_losses(state);
    }

    /// What is said to be done and is on no master that stays.
    fn note_losses(state: &mut State) {
        for what in 0..3 {
            if state.done & 1 << what != 0 && !state.store.master.holds(what) {
                state.lost |= 1 << what;
            }
        }
    }

    fn answer(state: &mut State, index: usize) {
        state.revoking[index] = Revoking::Done;
        state.done |= 1 << index;
        // Here at once; the other replica follows.
        state.followers[index % FOLLOWERS].list |= 1 << index;
        Self::note_losses(state);
    }

    fn write(self, state: &mut State, index: usize) -> Option<()> {
        let node = Self::node(state, index % FOLLOWERS)?;
        let clock = state.store.clock(node, state.now, self.faults);
        let number = state.store.at(node).next_number(clock);
        state.store.change(node, (number, u8::try_from(index).ok()?));
        if state.revoking[index] == Revoking::Failed {
            state.retried |= 1 << index;
        }
        state.revoking[index] = Revoking::Written;
        Some(())
    }

    /// One page, as the follower of the service reads it.
    fn read(self, state: &mut State, index: usize) {
        let node = Self::node(state, index).filter(|_| !state.followers[index].broken);
        let done = state.done;
        let follower = &mut state.followers[index];
        follower.broken = false;
        let Some(node) = node else {
            let was_whole = std::mem::take(&mut follower.whole);
            match self.mistake {
                Mistake::GoesOnWhereItStood => {}
                Mistake::GoesOnAtTheEnd => {
                    follower.cursor = state.store.master.entries.last().map(|(number, _)| *number);
                }
                Mistake::None | Mistake::GoesOnMidway if !was_whole => {}
                _ => follower.cursor = None,
            }
            return;
        };
        let history = state.store.failovers - u8::from(node == Node::Former);
        if follower.history != history {
            follower.history = history;
            if self.notices_another_master() {
                follower.cursor = None;
            }
        }
        let stream = state.store.at(node);
        let is_new = |number: &Number| follower.cursor.is_none_or(|cursor| *number > cursor);
        if let Some((number, what)) = stream.entries.iter().find(|(number, _)| is_new(number)) {
            follower.cursor = Some(*number);
            follower.list |= 1 << *what;
            return;
        }
        follower.whole = true;
        // While two masters answer, what the other one was told cannot be known here.
        if node == Node::Master {
            let missing = done & !follower.list;
            Self::note_missing(state, missing);
        }
    }

    fn note_missing(state: &mut State, missing: u8) {
        state.missed |= missing != 0;
        state.missed_what_stays |= missing & !state.lost != 0;
    }

    fn notices_another_master(self) -> bool {
        !matches!(
            self.mistake,
            Mistake::AsksByNumberAlone
                | Mistake::GoesOnMidway
                | Mistake::GoesOnWhereItStood
                | Mistake::GoesOnAtTheEnd
        )
    }

    fn restart(self, state: &mut State, index: usize) {
        state.restarts += 1;
        state.followers[index] = Follower { history: state.store.failovers, ..Follower::default() };
        if self.mistake == Mistake::TrustsAnEmptyList {
            Self::note_missing(state, state.done);
        }
        // What it was asked for is not answered.
        for (one, revoking) in state.revoking.iter_mut().enumerate() {
            let is_here = one % FOLLOWERS == index;
            if is_here && matches!(revoking, Revoking::Asked | Revoking::Written) {
                *revoking = Revoking::Failed;
            }
        }
    }
}

impl Model for List {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State {
            store: Store::new(self.faults),
            // So that a clock can be behind.
            now: self.faults.behind,
            revoking: [Revoking::Idle; 3],
            retried: 0,
            followers: Default::default(),
            restarts: 0,
            done: 0,
            lost: 0,
            missed: false,
            missed_what_stays: false,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        state.store.events(self.faults, |event| actions.push(Action::Store(event)));
        if state.now < self.faults.behind + self.seconds {
            actions.push(Action::Tick);
        }
        for (index, one) in state.revoking.iter().enumerate().take(self.revoked) {
            match one {
                // What was asked for and is not written has no effect, unless it is told of.
                Revoking::Idle if self.mistake == Mistake::AnswersBeforeItIsWritten => {
                    actions.push(Action::Revoke(index));
                }
                Revoking::Idle | Revoking::Asked => actions.push(Action::Write(index)),
                Revoking::Written => actions.extend([Action::Answer(index), Action::Fail(index)]),
                Revoking::Failed if self.retries && state.retried & 1 << index == 0 => {
                    actions.push(Action::Write(index));
                }
                _ => {}
            }
        }
        actions.extend((0..FOLLOWERS).map(Action::Read));
        if state.restarts < self.restarts {
            actions.extend((0..FOLLOWERS).map(Action::Restart));
        }
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        let mut next = state.clone();
        match action {
            Action::Store(event) => Self::happen(&mut next, event),
            Action::Tick => next.now += 1,
            Action::Revoke(index) => {
                next.revoking[index] = Revoking::Asked;
                next.done |= 1 << index;
            }
            Action::Write(index) => self.write(&mut next, index)?,
            Action::Answer(index) => Self::answer(&mut next, index),
            Action::Fail(index) => next.revoking[index] = Revoking::Failed,
            Action::Read(index) => self.read(&mut next, index),
            Action::Restart(index) => self.restart(&mut next, index),
        }
        (next != *state).then_some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::<Self>::always(ENFORCED, |_, state| !state.missed),
            Property::<Self>::always(BY_LOSS_ALONE, |_, state| !state.missed_what_stays),
            Property::<Self>::sometimes("everybody knows all", |model, state| {
                let all = (1 << model.revoked) - 1;
                state.done == all && state.followers.iter().all(|one| one.list == all)
            }),
        ]
    }
}

/// Whoever has read to the end refuses all that was said to be revoked by then.
pub const ENFORCED: &str = "what was said to be revoked is enforced";
/// The same, but for what a failover has lost.
pub const BY_LOSS_ALONE: &str = "what is not enforced was lost by a failover";
