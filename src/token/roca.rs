//! RSA keys of a faulty generator (CVE-2017-15361, "ROCA"), which smart cards
//! and TPMs of some years have made: who knows the public key can work out the
//! private one.

/// Primes modulo which the powers of 65537 are few.
const PRIMES: [u32; 17] =
    [11, 13, 17, 19, 37, 53, 61, 71, 73, 79, 97, 103, 107, 109, 127, 151, 157];

/// Whether a modulus is of that generator: both its primes are powers of 65537
/// modulo many small primes, and so is their product. Of other moduli, less than
/// one in a hundred million is.
pub(super) fn is_of_the_faulty_generator(n: &[u8]) -> bool {
    PRIMES.iter().all(|prime| {
        let rest = n.iter().fold(0, |rest, byte| (rest * 256 + u32::from(*byte)) % prime);
        let mut power = 1;
        (0..*prime).any(|_| {
            power = power * (65_537 % prime) % prime;
            power == rest
        })
    })
}
