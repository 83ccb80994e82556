/* SPDX-License-Identifier: MIT */
/* VP8 in real time by libvpx. Built without it, vp8_open() says so. */
#ifndef EXAMPLES_VP8_H
#define EXAMPLES_VP8_H

#include "y4m.h"

#ifdef HAVE_VPX
#define VP8_HELP_TEXT ""
#else
#define VP8_HELP_TEXT "This one was built without libvpx: only --raw works.\n"
#endif

#ifdef HAVE_VPX
#include <vpx/vp8cx.h>
#include <vpx/vpx_encoder.h>

/* All zero before it is opened; it can be closed then, too. */
struct vp8 {
	vpx_codec_ctx_t codec;
	vpx_codec_iter_t next; /* packet of the frame encoded last */
	struct y4m format;
};

/* What went wrong. */
static inline const char *vp8_error(struct vp8 *vp8)
{
	const char *detail = vpx_codec_error_detail(&vp8->codec);

	return detail ? detail : vpx_codec_error(&vp8->codec);
}

/* Kilobits per second that keep the test pattern and the like above 30 dB: 0.15 bits per pixel,
 * more for tiny pictures. */
static inline unsigned vp8_bitrate(const struct y4m *format)
{
	uint64_t pixels = (uint64_t)format->width * format->height + 4096;
	uint64_t rate = format->rate_num / format->rate_den + 1;
	uint64_t kbits = pixels * (rate < 120 ? rate : 120) * 15 / 100 / 1000 + 1;

	return kbits < 200000 ? (unsigned)kbits : 200000;
}

/* Prepares for frames of this format. bitrate: kilobits per second, 0: by the format; speed: 0
 * (good) to 16 (fast). NULL, or what is wrong. */
static inline const char *vp8_open(
	struct vp8 *vp8, const struct y4m *format, unsigned bitrate, unsigned speed)
{
	vpx_codec_enc_cfg_t config;

	vp8->format = *format;
	if (vpx_codec_enc_config_default(vpx_codec_vp8_cx(), &config, 0))
		return "this libvpx cannot encode VP8";
	config.g_w = format->width;
	config.g_h = format->height;
	config.g_timebase.num = (int)format->rate_den;
	config.g_timebase.den = (int)format->rate_num;
	config.g_lag_in_frames = 0; /* each frame comes out at once, and none is kept */
	/* More threads spin for each other: slower by far where processors are shared. */
	config.g_threads = 1;
	config.rc_end_usage = VPX_CBR;
	config.rc_target_bitrate = bitrate ? bitrate : vp8_bitrate(format);
	config.rc_max_quantizer = 48;
	if (vpx_codec_enc_init(&vp8->codec, vpx_codec_vp8_cx(), &config, 0) ||
		vpx_codec_control(&vp8->codec, VP8E_SET_CPUUSED, -(int)speed))
		return vp8_error(vp8);
	return NULL;
}

/* Describes a frame where it lies. Planes and rows are set by hand: vpx_img_wrap() takes rows of
 * odd length to be padded. */
static inline void vp8_wrap(const struct y4m *format, const void *frame, vpx_image_t *ret_image)
{
	unsigned char *planes = (unsigned char *)(uintptr_t)frame; /* libvpx only reads */

	vpx_img_wrap(ret_image, VPX_IMG_FMT_I420, format->width, format->height, 1, planes);
	ret_image->planes[VPX_PLANE_U] = planes + y4m_offset_u(format);
	ret_image->planes[VPX_PLANE_V] = planes + y4m_offset_v(format);
	ret_image->stride[VPX_PLANE_Y] = (int)format->width;
	ret_image->stride[VPX_PLANE_U] = (int)y4m_chroma_width(format);
	ret_image->stride[VPX_PLANE_V] = (int)y4m_chroma_width(format);
}

/* Encodes frame number index in place. NULL, or what is wrong. */
static inline const char *vp8_encode(struct vp8 *vp8, const void *frame, uint64_t index)
{
	vpx_image_t image;

	vp8_wrap(&vp8->format, frame, &image);
	vp8->next = NULL;
	if (vpx_codec_encode(&vp8->codec, &image, (vpx_codec_pts_t)index, 1, 0, VPX_DL_REALTIME))
		return vp8_error(vp8);
	return NULL;
}

/* The next piece of what vp8_encode() made; NULL: that was all. Valid until the next
 * vp8_encode(). */
static inline const void *vp8_packet(struct vp8 *vp8, size_t *ret_len)
{
	const vpx_codec_cx_pkt_t *packet;

	while ((packet = vpx_codec_get_cx_data(&vp8->codec, &vp8->next))) {
		if (packet->kind == VPX_CODEC_CX_FRAME_PKT) {
			*ret_len = packet->data.frame.sz;
			return packet->data.frame.buf;
		}
	}
	return NULL;
}

static inline void vp8_close(struct vp8 *vp8)
{
	vpx_codec_destroy(&vp8->codec);
}

#else

struct vp8 {
	char nothing;
};

static inline const char *vp8_open(
	struct vp8 *vp8, const struct y4m *format, unsigned bitrate, unsigned speed)
{
	(void)vp8, (void)format, (void)bitrate, (void)speed;
	return "this encode was built without libvpx: only --raw works";
}

static inline const char *vp8_encode(struct vp8 *vp8, const void *frame, uint64_t index)
{
	(void)frame, (void)index;
	return vp8_open(vp8, NULL, 0, 0);
}

static inline const void *vp8_packet(struct vp8 *vp8, size_t *ret_len)
{
	(void)vp8, (void)ret_len;
	return NULL;
}

static inline void vp8_close(struct vp8 *vp8)
{
	(void)vp8;
}

#endif

#endif
