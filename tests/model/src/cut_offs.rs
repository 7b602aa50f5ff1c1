//! The cut-off of a user: all that was issued up to a second is void.
//!
//! A sign-in reads how its user stands and leaves a code with the cut-off that it saw;
//! the exchange reads it again, refuses where that is another one by now, and issues a
//! token of the second that the store said. All times are the store's. Cut-offs that are
//! old are forgotten one by one, and hold for everybody from then on, which is meant to
//! meet only what has expired.

use stateright::{Model, Property};

use crate::store::{Data, Event, Faults, Node, Store};

/// So many sign-ins of the user.
const SIGN_INS: usize = 2;
/// At most so many cut-offs of the user.
const CUTS: usize = 2;
/// How long a token lives, in seconds.
const LIFETIME: u8 = 2;
/// How long a code lives, which is not as long as a cut-off is kept.
const CODE: u8 = 1;

/// How the service could be written wrongly, or was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mistake {
    /// As it is.
    #[default]
    None,
    /// A token is of the second in which it is signed.
    IssuesByItsOwnClock,
    /// Right after a cut-off, a token is of the same second.
    IssuesInTheSecondOfTheCutOff,
    /// An exchange does not look at what was cut off since the sign-in.
    KeepsCodes,
    /// A cut-off is of the store's clock alone, whatever was issued before: as it was once.
    CutsOffByTheClockAlone,
    /// Cut-offs hold for everybody while tokens of their time are good.
    ForgetsTooSoon,
}

/// The model.
#[derive(Clone, Copy, Debug, Default)]
pub struct CutOffs {
    /// What the store suffers.
    pub faults: Faults,
    /// A mistake to find.
    pub mistake: Mistake,
    /// The last second that comes.
    pub seconds: u8,
    /// So many cut-offs; at most 2.
    pub cuts: usize,
}

/// What the store knows of the user.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Standing {
    cut_off: Option<u8>,
    /// The last second of which something was issued.
    issued: Option<u8>,
    /// What was issued up to then is void, whoever's it is.
    everybody: Option<u8>,
}

/// A change of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Change {
    Issued(u8),
    CutOff(u8),
    Forget,
}

impl Data for Standing {
    type Change = Change;

    fn apply(&mut self, change: &Change) {
        match change {
            Change::Issued(at) => self.issued = self.issued.max(Some(*at)),
            Change::CutOff(at) => self.cut_off = Some(*at),
            Change::Forget => self.everybody = self.everybody.max(self.cut_off.take()),
        }
    }
}

impl Standing {
    fn cuts_off(&self, issued_at: u8) -> bool {
        self.cut_off.max(self.everybody).is_some_and(|at| issued_at <= at)
    }
}

/// How far a sign-in is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SignIn {
    Idle,
    /// A code is given, with the cut-off that was seen, and the second.
    Coded(Option<u8>, u8),
    /// The code is exchanged: the token is of this second.
    Stood(u8),
    /// A token is given, of this second.
    Signed(u8),
    Refused,
}

/// How far a cut-off is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cut {
    Idle,
    Written(u8),
    Done(u8),
}

/// What there is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    store: Store<Standing>,
    now: u8,
    sign_ins: [SignIn; SIGN_INS],
    cuts: [Cut; CUTS],
    /// Of each cut-off, the sign-ins that had begun, and those that began when it was done.
    before: [u8; CUTS],
    after: [u8; CUTS],
    /// A token of somebody else.
    other: Option<u8>,
    /// Cut-offs that a failover has lost, or of which it has lost what they hang on.
    lost: bool,
}

/// What happens next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    Store(Event),
    Tick,
    SignIn(usize),
    Exchange(usize),
    Sign(usize),
    Other,
    Cut(usize),
    Tell(usize),
    Forget,
}

impl CutOffs {
    /// The second of the store's clock.
    fn clock(self, state: &State) -> u8 {
        state.store.clock(Node::Master, state.now, self.faults)
    }

    /// What a question for the standing answers: the second to issue at, and the cut-off.
    fn stand(self, state: &mut State) -> (u8, Option<u8>) {
        let clock = self.clock(state);
        let cut_off = state.store.master.cut_off;
        let after = match self.mistake {
            Mistake::IssuesInTheSecondOfTheCutOff => cut_off,
            _ => cut_off.map(|at| at + 1),
        };
        let issue_at = clock.max(after.unwrap_or(0));
        if self.mistake != Mistake::CutsOffByTheClockAlone {
            state.store.change(Node::Master, Change::Issued(issue_at));
        }
        (issue_at, cut_off)
    }

    fn cut(self, state: &mut State, index: usize) {
        let Standing { cut_off, issued, .. } = state.store.master;
        let after = cut_off.map_or(0, |at| at + 1);
        let at = self.clock(state).max(after).max(issued.unwrap_or(0));
        state.store.change(Node::Master, Change::CutOff(at));
        state.cuts[index] = Cut::Written(at);
        for (one, sign_in) in state.sign_ins.iter().enumerate() {
            if *sign_in != SignIn::Idle {
                state.before[index] |= 1 << one;
            }
        }
    }

    fn kept(self) -> u8 {
        if self.mistake == Mistake::ForgetsTooSoon { 1 } else { LIFETIME + self.faults.behind }
    }

    fn sign_in(self, state: &mut State, index: usize) {
        for (cut, one) in state.cuts.iter().enumerate() {
            if matches!(one, Cut::Done(_)) {
                state.after[cut] |= 1 << index;
            }
        }
        let (_, cut_off) = self.stand(state);
        state.sign_ins[index] = SignIn::Coded(cut_off, self.clock(state));
    }

    fn exchange(self, state: &mut State, index: usize) -> Option<()> {
        let SignIn::Coded(seen, _) = state.sign_ins[index] else { return None };
        let (issue_at, cut_off) = self.stand(state);
        let is_same = cut_off == seen || self.mistake == Mistake::KeepsCodes;
        state.sign_ins[index] = if is_same { SignIn::Stood(issue_at) } else { SignIn::Refused };
        Some(())
    }
}

impl Model for CutOffs {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State {
            store: Store::new(self.faults),
            now: self.faults.behind,
            sign_ins: [SignIn::Idle; SIGN_INS],
            cuts: [Cut::Idle; CUTS],
            before: [0; CUTS],
            after: [0; CUTS],
            other: None,
            lost: false,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        state.store.events(self.faults, |event| actions.push(Action::Store(event)));
        if state.now < self.faults.behind + self.seconds {
            actions.push(Action::Tick);
        }
        for (index, one) in state.sign_ins.iter().enumerate() {
            match one {
                SignIn::Idle if state.store.answers => actions.push(Action::SignIn(index)),
                SignIn::Coded(_, at) if state.store.answers && self.clock(state) <= at + CODE => {
                    actions.push(Action::Exchange(index));
                }
                SignIn::Stood(_) => actions.push(Action::Sign(index)),
                _ => {}
            }
        }
        if state.other.is_none() {
            actions.push(Action::Other);
        }
        for (index, one) in state.cuts.iter().enumerate().take(self.cuts) {
            match one {
                Cut::Idle if state.store.answers => actions.push(Action::Cut(index)),
                Cut::Written(_) => actions.push(Action::Tell(index)),
                _ => {}
            }
        }
        if state.store.master.cut_off.is_some_and(|at| self.clock(state) >= at + self.kept()) {
            actions.push(Action::Forget);
        }
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        let mut next = state.clone();
        match action {
            Action::Store(event) => {
                // What a lost change was for is no longer known to anybody.
                next.lost |= matches!(event, Event::FailOver(_)) && !next.store.pending.is_empty();
                next.store.happen(event);
            }
            Action::Tick => next.now += 1,
            Action::SignIn(index) => self.sign_in(&mut next, index),
            Action::Exchange(index) => self.exchange(&mut next, index)?,
            Action::Sign(index) => {
                let SignIn::Stood(at) = next.sign_ins[index] else { return None };
                let by_itself = self.mistake == Mistake::IssuesByItsOwnClock;
                next.sign_ins[index] = SignIn::Signed(if by_itself { next.now } else { at });
            }
            Action::Other => next.other = Some(self.clock(state)),
            Action::Cut(index) => self.cut(&mut next, index),
            Action::Tell(index) => {
                let Cut::Written(at) = next.cuts[index] else { return None };
                next.cuts[index] = Cut::Done(at);
            }
            Action::Forget => next.store.change(Node::Master, Change::Forget),
        }
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::<Self>::always(VOID, |_, state| state.lost || state.is_void()),
            Property::<Self>::always(VOID_WITH_LOSS, |_, state| state.is_void()),
            Property::<Self>::always(GOOD, |_, state| {
                state.lost
                    || state.signed().all(|(index, issued_at)| {
                        (0..CUTS).all(|cut| match state.cuts[cut] {
                            Cut::Done(at) if state.after[cut] & 1 << index != 0 => issued_at > at,
                            _ => true,
                        })
                    })
            }),
            Property::<Self>::always(OTHERS, |_, state| {
                let goes_on = |issued_at: &u8| state.now < issued_at + LIFETIME;
                state.other.filter(goes_on).is_none_or(|issued_at| {
                    state.store.master.everybody.is_none_or(|at| issued_at > at)
                })
            }),
            Property::<Self>::sometimes("a token is good after a cut-off", |_, state| {
                let mut signed = state.signed();
                matches!(state.cuts[0], Cut::Done(_))
                    && signed.any(|(_, issued_at)| !state.store.master.cuts_off(issued_at))
            }),
            Property::<Self>::sometimes("a cut-off is forgotten, and holds", |_, state| {
                let mut signed = state.signed();
                state.store.master.cut_off.is_none()
                    && signed.any(|(_, issued_at)| state.store.master.cuts_off(issued_at))
            }),
        ]
    }
}

impl State {
    fn signed(&self) -> impl Iterator<Item = (usize, u8)> {
        self.sign_ins.iter().enumerate().filter_map(|(index, one)| match one {
            SignIn::Signed(at) => Some((index, *at)),
            _ => None,
        })
    }

    /// Whether all that somebody had signed in for is void when the cut-off is done, as
    /// whoever reads the store now knows.
    fn is_void(&self) -> bool {
        self.signed().all(|(index, issued_at)| {
            let cut_off = |cut: usize| {
                matches!(self.cuts[cut], Cut::Done(_)) && self.before[cut] & 1 << index != 0
            };
            !(0..CUTS).any(cut_off) || self.store.master.cuts_off(issued_at)
        })
    }
}

/// A cut-off voids whatever began before it.
pub const VOID: &str = "a cut-off voids what was signed in for before";
/// The same, also when a failover has lost something.
pub const VOID_WITH_LOSS: &str = "the same, through a failover that loses writes";
/// A cut-off voids nothing that begins after it.
pub const GOOD: &str = "who signs in after a cut-off is let in";
/// A cut-off that is forgotten voids what has expired.
pub const OTHERS: &str = "a cut-off that is forgotten shuts nobody else out";
