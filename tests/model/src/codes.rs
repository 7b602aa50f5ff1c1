//! Values that work once: the one-time code, and the state of a single sign-on.
//!
//! A sign-in has put a value, and somebody shows what names it to several replicas at
//! once: each try is a request that takes the value out of the store, and gives a token
//! where it was there and the try has the right verifier. A try may be late, its answer
//! may be lost, and the client of the store may send it once more. With a provider, the
//! one whose code it is gives each code once, too.

use stateright::{Model, Property};

use crate::store::{Data, Event, Faults, Node, Store};

/// So many requests show the same value.
pub const TRIES: usize = 3;

/// How the service could be written wrongly.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mistake {
    /// As it is.
    #[default]
    None,
    /// A value is read, and then deleted.
    ReadsThenDeletes,
    /// No answer of the store counts as the value.
    TakesSilenceForTheValue,
    /// A try with a wrong verifier leaves the value there.
    SparesTheValue,
    /// A value whose taking was not answered is put back.
    PutsBack,
}

/// The model.
#[derive(Clone, Copy, Debug, Default)]
pub struct Codes {
    /// What the store suffers.
    pub faults: Faults,
    /// A mistake to find.
    pub mistake: Mistake,
    /// Whether a provider has to give a person for its own code, too.
    pub provider: bool,
}

/// Whether the value is there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Kept(pub bool);

impl Data for Kept {
    type Change = bool;

    fn apply(&mut self, change: &bool) {
        self.0 = *change;
    }
}

/// Where a request that shows the value stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Try {
    /// Not sent.
    Idle,
    /// On its way to the store, for the first or the second time.
    Asked { again: bool },
    /// The same; but the client of the service was told 503 by now.
    Late,
    /// The store has read it, and is to delete it: one of the mistakes.
    Read { found: bool },
    /// The store has taken it, or not; the answer is on its way.
    Answered { found: bool, again: bool },
    /// The provider is asked who it was.
    AtProvider,
    /// A token.
    Signed,
    /// 401.
    Refused,
    /// 503 or 502.
    Unavailable,
}

/// What there is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    store: Store<Kept>,
    /// Whether the sign-in was answered with the value.
    given: bool,
    put: bool,
    tries: [Try; TRIES],
    tokens: u8,
    /// How many tries have found the value there.
    found: u8,
    /// How many values more failovers have made of the one.
    copies: u8,
    /// Whether a failover has lost the value itself, or one was asked that never had it.
    lost: bool,
    /// Whether the provider's own code was used.
    provider_used: bool,
}

/// What happens next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    Store(Event),
    Put,
    Give,
    Ask(usize),
    GiveUp(usize),
    Take(usize, Node),
    Delete(usize, Node),
    Lose(usize),
    AskAgain(usize),
    Hear(usize),
    Provide(usize, bool),
}

/// The last try has not the verifier.
fn is_right(index: usize) -> bool {
    index + 1 < TRIES
}

impl Codes {
    fn take(self, state: &mut State, index: usize, node: Node) -> Option<()> {
        let found = state.store.at(node).0;
        let spares = self.mistake == Mistake::SparesTheValue && !is_right(index);
        state.tries[index] = match state.tries[index] {
            Try::Asked { .. } if self.mistake == Mistake::ReadsThenDeletes => Try::Read { found },
            Try::Asked { again } => Try::Answered { found, again },
            Try::Late => Try::Unavailable,
            _ => return None,
        };
        state.found += u8::from(found);
        // A former master has not what was put since.
        state.lost |= node == Node::Former && !found;
        if found && !spares && self.mistake != Mistake::ReadsThenDeletes {
            state.store.change(node, false);
        }
        Some(())
    }

    fn hear(self, state: &mut State, index: usize) -> Option<()> {
        let Try::Answered { found, .. } = state.tries[index] else { return None };
        state.tries[index] = match (found && is_right(index), self.provider) {
            (false, _) => Try::Refused,
            (true, true) => Try::AtProvider,
            (true, false) => {
                state.tokens += 1;
                Try::Signed
            }
        };
        Some(())
    }

    fn lose(self, state: &mut State, index: usize) -> Option<()> {
        state.tries[index] = match state.tries[index] {
            Try::Asked { .. } | Try::Answered { .. }
                if self.mistake == Mistake::TakesSilenceForTheValue =>
            {
                state.tokens += 1;
                Try::Signed
            }
            Try::Answered { .. } if self.mistake == Mistake::PutsBack => {
                state.store.change(Node::Master, true);
                Try::Unavailable
            }
            Try::Asked { .. } => Try::Late,
            Try::Answered { .. } => Try::Unavailable,
            _ => return None,
        };
        Some(())
    }

    fn happen(state: &mut State, event: Event) {
        let before = state.store.master.0;
        state.store.happen(event);
        if let Event::FailOver(_) = event {
            // One that was taken is there again, or is there at both.
            let taken_is_back = !before && state.store.master.0;
            let is_at_both =
                state.store.former.as_ref().is_some_and(|former| former.0) && state.store.master.0;
            state.copies += u8::from(taken_is_back) + u8::from(is_at_both);
            state.lost |= before && !state.store.master.0;
        }
    }
}

impl Model for Codes {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State {
            store: Store::new(self.faults),
            given: false,
            put: false,
            tries: [Try::Idle; TRIES],
            tokens: 0,
            found: 0,
            copies: 0,
            lost: false,
            provider_used: false,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        state.store.events(self.faults, |event| actions.push(Action::Store(event)));
        if !state.put {
            actions.extend(state.store.answers.then_some(Action::Put));
            return;
        }
        if !state.given {
            actions.push(Action::Give);
        }
        for (index, one) in state.tries.iter().enumerate() {
            match one {
                Try::Idle if state.given => actions.push(Action::Ask(index)),
                Try::Asked { again } => {
                    actions.push(Action::GiveUp(index));
                    actions.extend(state.store.nodes().map(|node| Action::Take(index, node)));
                    if !again {
                        actions.push(Action::AskAgain(index));
                    }
                }
                Try::Late => {
                    actions.extend(state.store.nodes().map(|node| Action::Take(index, node)));
                }
                Try::Read { .. } => {
                    actions.extend(state.store.nodes().map(|node| Action::Delete(index, node)));
                }
                Try::Answered { again, .. } => {
                    actions.extend([Action::Hear(index), Action::Lose(index)]);
                    if !again {
                        actions.push(Action::AskAgain(index));
                    }
                }
                Try::AtProvider => {
                    actions.extend([true, false].map(|heard| Action::Provide(index, heard)));
                }
                _ => {}
            }
        }
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        let mut next = state.clone();
        match action {
            Action::Store(event) => Self::happen(&mut next, event),
            Action::Put => {
                next.store.change(Node::Master, true);
                next.put = true;
            }
            Action::Give => next.given = true,
            Action::Ask(index) => next.tries[index] = Try::Asked { again: false },
            Action::GiveUp(index) | Action::Lose(index) => self.lose(&mut next, index)?,
            Action::Take(index, node) => self.take(&mut next, index, node)?,
            Action::Delete(index, node) => {
                let Try::Read { found } = next.tries[index] else { return None };
                if next.store.at(node).0 {
                    next.store.change(node, false);
                }
                next.tries[index] = Try::Answered { found, again: true };
            }
            Action::AskAgain(index) => next.tries[index] = Try::Asked { again: true },
            Action::Hear(index) => self.hear(&mut next, index)?,
            Action::Provide(index, heard) => {
                next.tries[index] = match (next.provider_used, heard) {
                    (false, true) => {
                        next.tokens += 1;
                        Try::Signed
                    }
                    _ => Try::Unavailable,
                };
                next.provider_used = true;
            }
        }
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::<Self>::always(ONE_TOKEN, |_, state| state.tokens <= 1),
            Property::<Self>::always(ONE_USE, |_, state| state.found <= 1 + state.copies),
            Property::<Self>::always(BY_LOSS_ALONE, |_, state| state.tokens <= 1 + state.copies),
            Property::<Self>::always(NONE_WITHOUT_TAKING, |_, state| state.tokens <= state.found),
            Property::<Self>::always(NO_REFUSAL_WITHOUT_CAUSE, |_, state| {
                let refused = state.tries[..TRIES - 1].contains(&Try::Refused);
                !refused || state.found > 0 || state.lost
            }),
            Property::<Self>::sometimes("a token is given", |_, state| state.tokens == 1),
            Property::<Self>::sometimes(
                "a try is 503 and a later one gives the token",
                |_, state| state.tries[0] == Try::Unavailable && state.tries[1] == Try::Signed,
            ),
        ]
    }
}

/// At most one token for a value.
pub const ONE_TOKEN: &str = "a code gives at most one token";
/// Whoever finds it uses it up, also with a wrong verifier.
pub const ONE_USE: &str = "whoever finds a code uses it up";
/// A second token is of a value that a failover has brought back.
pub const BY_LOSS_ALONE: &str = "a second token is of a taking that a failover has lost";
/// No token without the value having been there.
pub const NONE_WITHOUT_TAKING: &str = "no token without taking the code";
/// What was given out works, unless it was used.
pub const NO_REFUSAL_WITHOUT_CAUSE: &str = "a code that nobody has used is not refused";
