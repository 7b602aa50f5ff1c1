//! What happens in Redis in one step, as scripts.
//!
//! Each begins with `KEYS` and `ARGV` as its documentation says. Spans and
//! times are in seconds, unless they are said to be in milliseconds.

/// Counts a try: KEYS counter; ARGV tries, window, lockout (milliseconds).
pub(super) const HIT: &str = "\
local count = redis.call('INCR', KEYS[1])
if count == 1 then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
if count == tonumber(ARGV[1]) + 1 then redis.call('PEXPIRE', KEYS[1], ARGV[3]) end
return {count, redis.call('PTTL', KEYS[1])}";

/// Takes a try back, of a counter that is still there: nobody has tries in hand.
pub(super) const GIVE_BACK: &str = "\
local count = redis.call('GET', KEYS[1])
if count and tonumber(count) > 0 then redis.call('DECR', KEYS[1]) end
return 1";

/// Remembers something: KEYS sorted set, by the end of each; ARGV what, how
/// long (milliseconds), how many at most.
pub(super) const REMEMBER: &str = "\
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
redis.call('ZREMRANGEBYRANK', KEYS[1], 0, -1 - ARGV[3])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1";

/// Whether something is remembered: KEYS sorted set; ARGV what.
pub(super) const REMEMBERS: &str = "\
local time = redis.call('TIME')
local ends = redis.call('ZSCORE', KEYS[1], ARGV[1])
if ends and tonumber(ends) > time[1] * 1000 + time[2] / 1000 then return 1 end
return 0";

/// What the scripts about members begin with: KEYS hash, whose values are the end
/// of each (milliseconds), a blank, and what was put there.
macro_rules! of_members {
    ($source:literal) => {
        concat!(
            "\
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local function is_over(kept)
  return tonumber(string.match(kept, '^%d+') or '0') <= now
end
",
            $source
        )
    };
}

/// Puts a member in: ARGV name, value, how long (milliseconds). Those that are over
/// are taken out.
pub(super) const PUT_MEMBER: &str = of_members!(
    "\
local all = redis.call('HGETALL', KEYS[1])
for at = 1, #all, 2 do
  if is_over(all[at + 1]) then redis.call('HDEL', KEYS[1], all[at]) end
end
redis.call('HSET', KEYS[1], ARGV[1], string.format('%d ', now + ARGV[3]) .. ARGV[2])
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[3]) then
  redis.call('PEXPIRE', KEYS[1], ARGV[3])
end
return redis.call('HLEN', KEYS[1])"
);

/// Replaces a member that is there: ARGV name, value.
pub(super) const REPLACE_MEMBER: &str = of_members!(
    "\
local kept = redis.call('HGET', KEYS[1], ARGV[1])
if not kept or is_over(kept) then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], string.match(kept, '^%d+ ') .. ARGV[2])
return 1"
);

/// All members: pairs of a name and what was put there.
pub(super) const MEMBERS: &str = of_members!(
    "\
local all, found = redis.call('HGETALL', KEYS[1]), {}
for at = 1, #all, 2 do
  if not is_over(all[at + 1]) then
    table.insert(found, {all[at], string.match(all[at + 1], '^%d+ (.*)$')})
  end
end
return found"
);

/// The keys of the scripts that append, in their order: the stream of the
/// revocations; a sorted set of its entries by the end of each; the last entry
/// whose end was noted there.
pub(super) const APPENDING: [&str; 3] = ["stream", "ends", "noted"];

/// What those scripts begin with: ARGV how long a cut-off is kept, how long a
/// token after its end.
///
/// The stream holds what lives and nothing else: whoever appends looks after
/// it, in small steps. Entries that somebody else has appended, such as a former
/// version, are looked after in the same way.
///
/// An entry is a list of fields: `t` token `u` end; `c` user `a` second; `e`
/// second, for a cut-off of everybody, which alone ends never. What a later
/// version adds, and what cannot be read, is left alone.
pub(super) const LOOK_AFTER: &str = "\
local time = redis.call('TIME')
local now = tonumber(time[1])

local function ends(fields)
  local at = tonumber(fields[4])
  if at and fields[1] == 't' then return at + ARGV[2] end
  if at and fields[1] == 'c' then return at + ARGV[1] end
  return fields[1] == 'e' and 'inf' or 1e300
end

local function note(id, fields)
  redis.call('ZADD', KEYS[2], ends(fields), id)
end

local function take_off(id)
  redis.call('XDEL', KEYS[1], id)
  redis.call('ZREM', KEYS[2], id)
end

local function entry(id)
  local found = redis.call('XRANGE', KEYS[1], id, id)[1]
  return found and found[2] or {}
end

-- What is left of the cut-offs that are taken off: one for everybody.
local function cut_off_everybody(at)
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], 'inf', 'inf')) do
    at = math.max(at, tonumber(entry(id)[2]) or at)
    take_off(id)
  end
  redis.call('XADD', KEYS[1], '*', 'e', string.format('%d', at))
end

local function look_after()
  local last = redis.call('GET', KEYS[3])
  local new = redis.call('XRANGE', KEYS[1], last and '(' .. last or '-', '+', 'COUNT', 100)
  for _, found in ipairs(new) do note(found[1], found[2]) end
  if #new > 0 then redis.call('SET', KEYS[3], new[#new][1]) end

  local everybody
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now, 'LIMIT', 0, 100)) do
    local fields = entry(id)
    if fields[1] and ends(fields) > now then
      -- Cut-offs are kept for longer by now.
      note(id, fields)
    else
      if fields[1] == 'c' then everybody = math.max(everybody or 0, tonumber(fields[4])) end
      take_off(id)
    end
  end
  if everybody then cut_off_everybody(everybody) end

  -- A node of the stream is freed when nothing is left in it. Where most have
  -- little left, what is in the first ones is appended once more.
  local told = redis.call('XINFO', 'STREAM', KEYS[1])
  local info = {}
  for at = 1, #told, 2 do info[told[at]] = told[at + 1] end
  if info['radix-tree-keys'] > 16 + info['length'] / 8 then
    for _, found in ipairs(redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 2)) do
      redis.call('XADD', KEYS[1], '*', unpack(found[2]))
      take_off(found[1])
    end
  end
end
";

/// What the scripts begin with that tell which history this master goes on with.
///
/// Another master may lack the last of what was read, and its clock may be behind, so
/// that it gives numbers that were given before, or lower ones. So its stream is read from
/// the beginning: each master that takes over has a history of its own. One that tells of
/// none, as to users who may not ask, is read on.
pub(super) const HISTORY: &str = "\
local told = redis.pcall('INFO', 'replication')
local history = type(told) == 'string' and string.match(told, 'master_replid:(%w+)') or ''
";

/// Goes on with [`HISTORY`], and tells it alone: KEYS a key of its node.
pub(super) const TELL_HISTORY: &str = "return history";

/// Goes on with [`HISTORY`], and reads a stream: KEYS stream; ARGV the history that the
/// reader has read, the last entry of it, how many.
pub(super) const BEHIND: &str = "\
local start = '-'
if history == ARGV[1] and ARGV[2] ~= '' then start = '(' .. ARGV[2] end
local entries = redis.call('XRANGE', KEYS[1], start, '+', 'COUNT', ARGV[3])
";

/// Revokes a token: ARGV behind the others token, its end.
pub(super) const REVOKE: &str = "\
redis.call('XADD', KEYS[1], '*', 't', ARGV[3], 'u', ARGV[4])
look_after()
return 1";

/// The further keys of the scripts that cut off: the cut-offs; the stream of the
/// keys for machines, and where the last word on each is in it; the last second of which
/// each user was issued something.
pub(super) const CUTTING_OFF: [&str; 4] = ["cut-offs", "keys", "key-entries", "issued"];

/// Cuts a user off by the clock of Redis: ARGV behind the others user. A second one in the
/// same second is a second later, since what was issued after the first one is, too. What
/// was issued when the clock was ahead, as another master's may have been, is cut off with
/// the rest. Keys live for longer than any cut-off is kept: for theirs it is noted among
/// them.
pub(super) const CUT_OFF: &str = "\
local at = now
local before = redis.call('ZSCORE', KEYS[4], ARGV[3])
if before and tonumber(before) >= at then at = tonumber(before) + 1 end
local issued = redis.call('ZSCORE', KEYS[7], ARGV[3])
if issued then at = math.max(at, tonumber(issued)) end
redis.call('XADD', KEYS[1], '*', 'c', ARGV[3], 'a', string.format('%d', at))
redis.call('ZADD', KEYS[4], at, ARGV[3])
redis.call('ZREMRANGEBYSCORE', KEYS[4], '-inf', '(' .. now - ARGV[1])
local name = 'user:' .. ARGV[3]
local last = redis.call('HGET', KEYS[6], name)
if last then redis.call('XDEL', KEYS[5], last) end
local entry = redis.call('XADD', KEYS[5], '*', 'u', string.format('%d', at) .. ' ' .. ARGV[3])
redis.call('HSET', KEYS[6], name, entry)
look_after()
return at";

/// Notes an account, and goes on with [`CUT_OFF`] when it has changed: KEYS
/// behind those accounts, passwords; ARGV account, password. A former version
/// reads and writes the accounts, and knows of no passwords.
pub(super) const NOTE_ACCOUNT: &str = "\
local known = redis.call('HGET', KEYS[8], ARGV[3])
local password = redis.call('HGET', KEYS[9], ARGV[3])
redis.call('HSET', KEYS[8], ARGV[3], ARGV[4])
if ARGV[5] == '' then
  redis.call('HDEL', KEYS[9], ARGV[3])
else
  redis.call('HSET', KEYS[9], ARGV[3], ARGV[5])
end
local is_other = password and ARGV[5] ~= '' and password ~= ARGV[5]
if not known or (known == ARGV[4] and not is_other) then return 0 end
";

/// The time, a user's cut-off, account and password: KEYS cut-offs, accounts,
/// passwords, the last second of which each user was issued something; ARGV user, how long
/// a cut-off is kept. Notes the second of which something may be issued now, so that no
/// clock that is behind cuts off less than that.
pub(super) const STANDING: &str = "\
local now = tonumber(redis.call('TIME')[1])
local at = redis.call('ZSCORE', KEYS[1], ARGV[1])
local account = redis.call('HGET', KEYS[2], ARGV[1])
local password = redis.call('HGET', KEYS[3], ARGV[1])
redis.call('ZADD', KEYS[4], 'GT', at and math.max(now, at + 1) or now, ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[4], '-inf', '(' .. now - ARGV[2])
return {now, at and tonumber(at) or -1, account, password}";

/// All accounts and passwords: KEYS accounts, passwords.
pub(super) const ACCOUNTS: &str = "\
return {redis.call('HGETALL', KEYS[1]), redis.call('HGETALL', KEYS[2])}";
