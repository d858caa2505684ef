//! A complete assessment of degrees: is this a power law, and with which exponent?

use core::fmt;

use serde::{Deserialize, Serialize};

use crate::alternative::{Comparison, FavouredLaw, against_exponential, against_lognormal};
use crate::bootstrap::p_value;
use crate::histogram::Histogram;
use crate::power_law::{Bound, Cutoff, FitError, MIN_TAIL, PowerLaw, fit};

/// A p below this rules the power law out (Clauset, Shalizi, Newman (2009), section 4.1).
pub const RULED_OUT: f64 = 0.1;

/// The options of a fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FitOptions {
    /// Where the tail begins, for both fits.
    pub cutoff: Cutoff,
    /// Where the bounded law ends; `None`: at the largest value in the data.
    pub xmax: Option<u64>,
    /// The number of replicates of each bootstrap; with 0, p stays unknown.
    pub replicates: u32,
    /// The seed of the replicates.
    pub seed: u64,
}

impl Default for FitOptions {
    /// Scans the lower cutoff, takes the largest value for the upper one, and draws no replicates.
    fn default() -> Self {
        let cutoff = Cutoff::Scan { min_tail: MIN_TAIL };
        Self { cutoff, xmax: None, replicates: 0, seed: 0 }
    }
}

/// The conclusion about a power law.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// p is below 0.1: the data are too far from the law.
    RuledOut,
    /// An alternative law fits the data significantly better.
    AlternativeBetter,
    /// Nothing contradicts the law, but p was not computed, or the exponential fits as well.
    Possible,
    /// p is 0.1 or more, the exponential is significantly worse and the lognormal not better.
    Supported,
}

impl Verdict {
    fn new(p: Option<f64>, exponential: &Comparison, lognormal: &Comparison) -> Self {
        let favours = [exponential.favours, lognormal.favours];
        match p {
            Some(p) if p < RULED_OUT => Verdict::RuledOut,
            _ if favours.contains(&FavouredLaw::Alternative) => Verdict::AlternativeBetter,
            Some(_) if exponential.favours == FavouredLaw::PowerLaw => Verdict::Supported,
            _ => Verdict::Possible,
        }
    }
}

/// A report: the power law without an upper end, the power law with an upper end, and for both the
/// goodness of fit and the comparison with other laws on the same tail.
///
/// Required data: about 50 observations in the tail for an unbiased exponent, about 1000 for a
/// reliable lower cutoff and exponent (section 3 of the paper). With fewer than some hundreds, p is
/// high and the comparisons favour neither law, whatever the true law is (sections 4 and 5). A scan
/// may also cut off so much that hardly any data are left: compare `tail` with `n`, and fix the
/// cutoff where it is known.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Fit {
    /// Number of observations, zeros included.
    pub n: u64,
    /// Exponent of the law without an upper end.
    pub alpha: f64,
    /// Its standard error.
    pub alpha_error: f64,
    /// Whether it is at the end of the range searched, and therefore meaningless.
    pub alpha_at_bound: bool,
    /// Lower cutoff.
    pub xmin: u64,
    /// Kolmogorov-Smirnov distance.
    pub ks: f64,
    /// Bootstrap p, if requested: below 0.1 the power law is ruled out. See [`p_value`].
    pub p: Option<f64>,
    /// Observations in the tail, from xmin on.
    pub tail: u64,
    /// The comparison with the discrete exponential.
    pub exponential: Comparison,
    /// The comparison with the discrete lognormal.
    pub lognormal: Comparison,
    /// The conclusion for the law without an upper end.
    pub verdict: Verdict,
    /// Exponent of the law with an upper end.
    pub bounded_alpha: f64,
    /// Its standard error.
    pub bounded_alpha_error: f64,
    /// Whether it is at the end of the range searched, and therefore meaningless.
    pub bounded_alpha_at_bound: bool,
    /// Lower cutoff of the bounded fit.
    pub bounded_xmin: u64,
    /// Upper cutoff, given or the largest value in the data.
    pub bounded_xmax: u64,
    /// Kolmogorov-Smirnov distance of the bounded fit.
    pub bounded_ks: f64,
    /// Bootstrap p of the bounded fit, if requested.
    pub bounded_p: Option<f64>,
    /// Observations in the tail of the bounded fit.
    pub bounded_tail: u64,
    /// The comparison of the bounded law with the discrete exponential with the same ends.
    pub bounded_exponential: Comparison,
    /// The comparison of the bounded law with the discrete lognormal with the same ends.
    pub bounded_lognormal: Comparison,
    /// The conclusion for the law with an upper end.
    pub bounded_verdict: Verdict,
}

/// One fitted law with its p, comparisons and verdict.
struct LawAssessment {
    fit: PowerLaw,
    p: Option<f64>,
    exponential: Comparison,
    lognormal: Comparison,
    verdict: Verdict,
}

impl LawAssessment {
    fn new(data: &Histogram, bound: Bound, options: &FitOptions) -> Result<Self, FitError> {
        let fit = fit(data, options.cutoff, bound)?;
        let how = (options.cutoff, bound);
        let p = p_value(data, &fit, how, options.replicates, options.seed);
        let exponential = against_exponential(data, &fit);
        let lognormal = against_lognormal(data, &fit);
        let verdict = Verdict::new(p, &exponential, &lognormal);
        Ok(Self { fit, p, exponential, lognormal, verdict })
    }
}

impl Fit {
    /// Fits and assesses both laws.
    ///
    /// # Errors
    ///
    /// If there are too few values, or all values are equal, or the cutoffs exclude some of them.
    pub fn new(data: &Histogram, options: &FitOptions) -> Result<Self, FitError> {
        let free = LawAssessment::new(data, Bound::None, options)?;
        let end = options.xmax.map_or(Bound::Largest, Bound::At);
        let bounded = LawAssessment::new(data, end, options)?;
        Ok(Self {
            n: data.n(),
            alpha: free.fit.law.alpha(),
            alpha_error: free.fit.alpha_error,
            alpha_at_bound: free.fit.at_bound,
            xmin: free.fit.law.xmin(),
            ks: free.fit.ks,
            p: free.p,
            tail: free.fit.tail,
            exponential: free.exponential,
            lognormal: free.lognormal,
            verdict: free.verdict,
            bounded_alpha: bounded.fit.law.alpha(),
            bounded_alpha_error: bounded.fit.alpha_error,
            bounded_alpha_at_bound: bounded.fit.at_bound,
            bounded_xmin: bounded.fit.law.xmin(),
            bounded_xmax: bounded.fit.law.xmax().unwrap_or(u64::MAX),
            bounded_ks: bounded.fit.ks,
            bounded_p: bounded.p,
            bounded_tail: bounded.fit.tail,
            bounded_exponential: bounded.exponential,
            bounded_lognormal: bounded.lognormal,
            bounded_verdict: bounded.verdict,
        })
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Verdict::RuledOut => "ruled out",
            Verdict::AlternativeBetter => "another law fits better",
            Verdict::Possible => "possible",
            Verdict::Supported => "supported",
        })
    }
}

impl fmt::Display for Fit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let p = |p: Option<f64>| p.map_or(String::new(), |p| format!(", p {p:.2}"));
        let end = |at_bound| if at_bound { " (end of the range searched)" } else { "" };
        writeln!(
            f,
            "power law from {}: alpha {:.3} ± {:.3}{}, {} of {} values, distance {:.4}{}: {}",
            self.xmin,
            self.alpha,
            self.alpha_error,
            end(self.alpha_at_bound),
            self.tail,
            self.n,
            self.ks,
            p(self.p),
            self.verdict,
        )?;
        write!(
            f,
            "power law {} to {}: alpha {:.3} ± {:.3}{}, {} of {} values, distance {:.4}{}: {}",
            self.bounded_xmin,
            self.bounded_xmax,
            self.bounded_alpha,
            self.bounded_alpha_error,
            end(self.bounded_alpha_at_bound),
            self.bounded_tail,
            self.n,
            self.bounded_ks,
            p(self.bounded_p),
            self.bounded_verdict,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::stream;
    use crate::zeta_law::ZetaLaw;
    use proptest::prelude::*;

    /// The overlay draws target degrees from the zeta law on [3, k_max].
    #[test]
    fn degree_law_of_the_overlay_is_recognised() {
        let law = ZetaLaw::new(2.4, 3, Some(60)).unwrap();
        let data = law.sample(20_000, &mut stream(11, b"test----", 0));
        let options = FitOptions { replicates: 100, seed: 1, ..FitOptions::default() };
        let fit = Fit::new(&data, &options).unwrap();
        assert_eq!((fit.bounded_xmin, fit.bounded_xmax, fit.n), (3, 60, 20_000));
        assert!((fit.bounded_alpha - 2.4).abs() < 4.0 * fit.bounded_alpha_error);
        assert_eq!(fit.bounded_verdict, Verdict::Supported, "{fit}");
        // Without the upper end, the same data do not follow a power law from 3 on.
        let options = FitOptions { cutoff: Cutoff::At(3), ..options };
        let cut = Fit::new(&data, &options).unwrap();
        assert_eq!(cut.verdict, Verdict::RuledOut, "{cut}");
        assert_eq!(cut.to_string().lines().count(), 2);
    }

    #[test]
    fn report_is_reproducible_and_round_trips_through_json() {
        let data = ZetaLaw::new(2.4, 3, None).unwrap().sample(500, &mut stream(1, b"test----", 0));
        let options = FitOptions { replicates: 20, seed: 3, ..FitOptions::default() };
        let fit = Fit::new(&data, &options).unwrap();
        assert_eq!(fit, Fit::new(&data, &options).unwrap());
        let text = serde_json::to_string(&fit).unwrap();
        let back: Fit = serde_json::from_str(&text).unwrap();
        assert_eq!((back.xmin, back.p, back.verdict), (fit.xmin, fit.p, fit.verdict));
        let none = Fit::new(&Histogram::default(), &options);
        assert!(matches!(none, Err(FitError::TooFewSamples { .. })));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(60))]
        /// For every histogram there is a report with finite numbers, or an error.
        #[test]
        fn any_histogram_is_fitted_with_finite_numbers_or_refused(
            counts in prop::collection::vec((any::<u64>(), 0u32..64, 0u64..20), 0..12),
            cutoff in prop::option::of(0u64..20), xmax in prop::option::of(1u64..100),
        ) {
            let data =
                Histogram::from_counts(counts.into_iter().map(|(x, down, c)| (x >> down, c)));
            let scan = Cutoff::Scan { min_tail: MIN_TAIL };
            let cutoff = cutoff.map_or(scan, Cutoff::At);
            let options = FitOptions { cutoff, xmax, replicates: 2, seed: 1 };
            if let Ok(fit) = Fit::new(&data, &options) {
                for all in [
                    [fit.alpha, fit.alpha_error, fit.ks],
                    [fit.bounded_alpha, fit.bounded_alpha_error, fit.bounded_ks],
                    [fit.exponential.ratio, fit.exponential.normalised, fit.exponential.p],
                    [fit.lognormal.ratio, fit.lognormal.normalised, fit.lognormal.p],
                    [
                        fit.bounded_exponential.ratio,
                        fit.bounded_lognormal.ratio,
                        fit.bounded_lognormal.p,
                    ],
                ] {
                    prop_assert!(all.iter().all(|v| v.is_finite()), "{:?} {:?}", fit, data);
                }
            }
        }
    }
}
