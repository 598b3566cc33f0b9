//! The handles there are, each with a word of its own.

use super::cache_config::cvx_cache_config;
use super::cache_stats::cvx_cache_stats;
use super::calibration::cvx_calibration;
use super::cancel_token::cvx_cancel_token;
use super::communicator::cvx_communicator;
use super::device::cvx_device_list;
use super::error::cvx_error;
use super::generate_options::cvx_generate_options;
use super::handle::Handle;
use super::image::cvx_image;
use super::job::cvx_job;
use super::load_options::cvx_load_options;
use super::pipeline::cvx_pipeline;
use super::step::cvx_step;
use super::video::cvx_video;
use super::video_encode::cvx_buffer;

macro_rules! handles {
    ($($name:ident $word:literal),+ $(,)?) => {
        $(impl Handle for $name {
            const NAME: &'static str = stringify!($name);
            const WORD: u64 = u64::from_le_bytes(*$word);
        })+
        #[cfg(test)]
        const WORDS: &[u64] = &[$(<$name as Handle>::WORD),+];
    };
}

// Not ASCII alone, so that no text of a host's is taken for one.
handles! {
    cvx_buffer b"\xf1cvxBuf\x9c",
    cvx_cache_config b"\xf1cvxCfg\x9c",
    cvx_cache_stats b"\xf1cvxSta\x9c",
    cvx_calibration b"\xf1cvxCal\x9c",
    cvx_cancel_token b"\xf1cvxTok\x9c",
    cvx_communicator b"\xf1cvxCom\x9c",
    cvx_device_list b"\xf1cvxDev\x9c",
    cvx_error b"\xf1cvxErr\x9c",
    cvx_generate_options b"\xf1cvxGen\x9c",
    cvx_image b"\xf1cvxImg\x9c",
    cvx_job b"\xf1cvxJob\x9c",
    cvx_load_options b"\xf1cvxLoa\x9c",
    cvx_pipeline b"\xf1cvxPip\x9c",
    cvx_step b"\xf1cvxStp\x9c",
    cvx_video b"\xf1cvxVid\x9c",
}

#[cfg(test)]
mod tests {
    use super::super::handle::DEAD;
    use super::*;

    #[test]
    fn every_type_has_a_word_of_its_own() {
        let words: std::collections::BTreeSet<_> = WORDS.iter().chain([&DEAD]).collect();
        assert_eq!(words.len(), WORDS.len() + 1);
    }
}
