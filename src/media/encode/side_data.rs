//! What a stream says of its picture or sound beside the parameters of its codec, such as its rotation.

use std::ptr::null_mut;

use ffmpeg_next as av;

use av::ffi::{AVPacketSideDataType, AVStream};
use av::format::context::Output;

/// Gives stream `to` of the muxer, which has the parameters of `stream`, its side data, too.
pub(super) fn copy_side_data(stream: &av::Stream, muxer: &mut Output, to: usize) {
    // The function of FFmpeg up to 7, which has it beside the parameters, hides the one below.
    #[allow(unused_imports, reason = "FFmpeg 8 has no such function")]
    use av::ffi::*;

    let Some(mut copy) = muxer.stream_mut(to) else {
        return;
    };
    for data in stream.side_data() {
        let bytes = data.data();
        // SAFETY: the side data and the stream are live for their borrows; the memory that FFmpeg allocates has as
        // many bytes as are copied to it, and the stream owns it.
        unsafe {
            let kind = (*data.as_ptr()).type_;
            let place = av_stream_new_side_data(copy.as_mut_ptr(), kind, bytes.len());
            if !place.is_null() {
                std::ptr::copy_nonoverlapping(bytes.as_ptr(), place, bytes.len());
            }
        }
    }
}

/// Of FFmpeg 8 and later, where the parameters hold the side data: there is nothing to do.
#[allow(dead_code, reason = "FFmpeg up to 7 has a function of this name")]
unsafe fn av_stream_new_side_data(_: *mut AVStream, _: AVPacketSideDataType, _: usize) -> *mut u8 {
    null_mut()
}
