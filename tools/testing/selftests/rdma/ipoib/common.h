/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/*
 * What the programs for the tests of IPoIB have in common.
 */
#ifndef _IPOIB_TEST_COMMON_H
#define _IPOIB_TEST_COMMON_H

#include <arpa/inet.h>
#include <err.h>
#include <fcntl.h>
#include <linux/types.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* From here on a datagram carries its number */
#define MIN_NUMBERED	4

static inline void usage(void)
{
	errx(2, "wrong arguments: they are explained at the top of the source");
}

/* Faster than to start ip for it */
static inline void enter_netns(const char *name)
{
	char path[256];
	int fd;

	snprintf(path, sizeof(path), "/run/netns/%s", name);
	fd = open(path, O_RDONLY);
	if (fd < 0 || setns(fd, CLONE_NEWNET))
		err(1, "%s", path);
	close(fd);
}

static inline void set_opt(int fd, int level, int name, int value)
{
	if (setsockopt(fd, level, name, &value, sizeof(value)))
		err(1, "setsockopt(%d, %d)", level, name);
}

static inline unsigned char pattern(__u32 seq, __u32 i)
{
	__u32 x = seq * 2654435761u + i * 40503u;

	return x ^ x >> 8 ^ x >> 16 ^ x >> 24;
}

/* What is in datagram number seq: each byte depends on the number and on its place */
static inline void fill(unsigned char *data, __u32 seq, unsigned int len)
{
	__u32 key = len < MIN_NUMBERED ? 0 : seq, i;

	for (i = 0; i < len; i++)
		data[i] = pattern(key, i);
	seq = htonl(seq);
	if (len >= MIN_NUMBERED)
		memcpy(data, &seq, sizeof(seq));
}

/* The Internet checksum: fold() of all that was added with sum() */
static inline __u64 sum(__u64 acc, const void *data, size_t len)
{
	const unsigned char *p = data;
	__u16 word;

	for (; len > 1; len -= 2, p += 2) {
		memcpy(&word, p, 2);
		acc += word;
	}
	if (len) {
		word = 0;
		memcpy(&word, p, 1);
		acc += word;
	}
	return acc;
}

static inline __u16 fold(__u64 acc)
{
	while (acc >> 16)
		acc = (acc & 0xffff) + (acc >> 16);
	return ~acc;
}

#endif
