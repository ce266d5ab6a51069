//! Finds what a filter says of the number of a system call by halving, instead of by one comparison after the other.
//!
//! The kernel tries a new filter with every number that it has, to learn which calls are always allowed. With a chain of
//! comparisons that takes longer than anything else about the filter, for each program that is started.

use seccompiler::sock_filter;

// Instructions. **Source**: linux/bpf_common.h, linux/seccomp.h.
const JUMP_IF_EQUAL: u16 = 0x15;
const JUMP_IF_NOT_LESS: u16 = 0x35;
const RETURN: u16 = 0x06;
const SECCOMP_RET_ALLOW: u32 = 0x7fff_0000;
/// Numbers that are compared one by one.
const LEAF: usize = 3;

/// What becomes of a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is refused.
    Refused,
    /// Its arguments decide: whatever follows the dispatch is asked.
    Asked,
}

/// Instructions that come after the number was loaded: a number that is not named is allowed, a refused one ends with
/// this value, and an asked one goes on behind the last of them. Fails when there are more numbers than a jump reaches
/// over, some 150.
pub(super) fn dispatch(mut named: Vec<(u32, Verdict)>, refusal: u32) -> Result<Vec<sock_filter>, String> {
    named.sort_unstable_by_key(|(number, _)| *number);
    let mut made = Made::default();
    made.halve(&named);
    let refuse = made.program.len();
    made.program.push(end(refusal));
    for (place, verdict) in made.exits {
        let target = match verdict {
            Verdict::Refused => refuse,
            Verdict::Asked => refuse + 1,
        };
        made.program[place].jt = reach(place, target)?;
    }
    for (place, target) in made.halves {
        made.program[place].jt = reach(place, target)?;
    }
    Ok(made.program)
}

#[derive(Default)]
struct Made {
    program: Vec<sock_filter>,
    /// Jumps out of the dispatch.
    exits: Vec<(usize, Verdict)>,
    /// Jumps to the upper half of the numbers, and where that begins.
    halves: Vec<(usize, usize)>,
}

impl Made {
    fn halve(&mut self, named: &[(u32, Verdict)]) {
        if named.len() <= LEAF {
            for (number, verdict) in named {
                self.exits.push((self.program.len(), *verdict));
                self.program.push(jump(JUMP_IF_EQUAL, *number));
            }
            self.program.push(end(SECCOMP_RET_ALLOW));
            return;
        }
        let (lower, upper) = named.split_at(named.len() / 2);
        let place = self.program.len();
        self.program.push(jump(JUMP_IF_NOT_LESS, upper[0].0));
        self.halve(lower);
        self.halves.push((place, self.program.len()));
        self.halve(upper);
    }
}

/// Goes on behind itself until it is told where to jump to.
fn jump(code: u16, k: u32) -> sock_filter {
    sock_filter { code, jt: 0, jf: 0, k }
}

fn end(k: u32) -> sock_filter {
    jump(RETURN, k)
}

fn reach(place: usize, target: usize) -> Result<u8, String> {
    u8::try_from(target - place - 1).map_err(|_| "system calls: too many of them are named".to_owned())
}
