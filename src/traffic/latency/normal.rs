//! Quantiles of the standard normal distribution.
//!
//! M. J. Wichura, "Algorithm AS 241: The Percentage Points of the Normal Distribution", Applied Statistics 37 (1988),
//! pages 477 to 484, `PPND16`: ratios of polynomials, with a relative error of about 10^-16.

/// Coefficients for `p` from 0.075 to 0.925: numerator and denominator, the highest power first.
const CENTRE: [[f64; 8]; 2] = [
    [
        2509.0809287301227,
        33430.57558358813,
        67265.7709270087,
        45921.95393154987,
        13731.69376550946,
        1971.5909503065513,
        133.14166789178438,
        3.3871328727963665,
    ],
    [
        5226.495278852854,
        28729.085735721943,
        39307.89580009271,
        21213.794301586597,
        5394.196021424751,
        687.1870074920579,
        42.31333070160091,
        1.0,
    ],
];
/// Coefficients for a distance of 1.4e-11 or more from the nearer end: numerator and denominator, the highest power
/// first.
const SHOULDER: [[f64; 8]; 2] = [
    [
        0.0007745450142783414,
        0.022723844989269184,
        0.2417807251774506,
        1.2704582524523684,
        3.6478483247632045,
        5.769497221460691,
        4.630337846156546,
        1.4234371107496835,
    ],
    [
        1.0507500716444169e-09,
        0.0005475938084995345,
        0.015198666563616457,
        0.14810397642748008,
        0.6897673349851,
        1.6763848301838038,
        2.053191626637759,
        1.0,
    ],
];
/// Coefficients for a smaller distance: numerator and denominator, the highest power first.
const TAIL: [[f64; 8]; 2] = [
    [
        2.0103343992922881e-07,
        2.7115555687434876e-05,
        0.0012426609473880784,
        0.026532189526576124,
        0.29656057182850487,
        1.7848265399172913,
        5.463784911164114,
        6.657904643501103,
    ],
    [
        2.0442631033899397e-15,
        1.421511758316446e-07,
        1.8463183175100548e-05,
        0.0007868691311456133,
        0.014875361290850615,
        0.1369298809227358,
        0.599832206555888,
        1.0,
    ],
];

/// Returns the normal score below which the share `p` of all draws lies, for `p` above 0 and below 1: -1.645 for 0.05,
/// 0 for 0.5.
pub(super) fn score(p: f64) -> f64 {
    let q = p - 0.5;
    if q.abs() <= 0.425 {
        return q * ratio(CENTRE, 0.180625 - q * q);
    }
    let end = if q < 0.0 { p } else { 1.0 - p };
    let r = (-end.ln()).sqrt();
    let score = if r <= 5.0 { ratio(SHOULDER, r - 1.6) } else { ratio(TAIL, r - 5.0) };
    score.copysign(q)
}

/// Returns the ratio of two polynomials at `r`.
fn ratio(polynomials: [[f64; 8]; 2], r: f64) -> f64 {
    let [numerator, denominator] = polynomials.map(|powers| powers.iter().fold(0.0, |sum, power| sum * r + power));
    numerator / denominator
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_are_correct_to_15_digits() {
        // Roots of erfc(-z / sqrt 2) / 2 = p, computed with 40 digits, on both sides of the changes of the ratio.
        for (p, z) in [
            (5.551115123125783e-17, -8.292361075813595),
            (1e-12, -7.034483825301132),
            (1e-10, -6.361340902404057),
            (0.001, -3.0902323061678136),
            (0.0749, -1.4402382675279637),
            (0.0751, -1.43882539275254),
            (0.25, -0.6744897501960817),
            (0.8, 0.8416212335729144),
            (0.975, 1.9599639845400538),
            (0.99, 2.3263478740408408),
            (0.9999, 3.7190164854557084),
        ] {
            let score = score(p);
            assert!((score - z).abs() <= 2e-15 * z.abs(), "{p}: {score} is not {z}");
        }
        assert_eq!(score(0.5), 0.0);
    }

    #[test]
    fn scores_rise_and_are_symmetric() {
        let mut last = f64::NEG_INFINITY;
        for n in 1..100_000 {
            let p = f64::from(n) / 100_000.0;
            assert!(score(p) > last, "{p}");
            last = score(p);
            assert!((score(1.0 - p) + last).abs() < 1e-9, "{p}");
        }
    }
}
