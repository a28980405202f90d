// SPDX-License-Identifier: GPL-2.0
/*
 * Takes the pages of a buffer, reads through them, and releases them.
 */
#include <err.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>

#include "rust_gup.h"

#define LEN_BYTES	100000

int main(void)
{
	struct rust_gup_pin pin = { 0 };
	struct rust_gup_copy copy = { 0 };
	struct rust_gup_unpin unpin = { 0 };
	char *buffer = malloc(LEN_BYTES), text[11] = "";
	int fd, i;

	if (!buffer)
		err(1, "malloc");
	for (i = 0; i < LEN_BYTES; i++)
		buffer[i] = "hello, pin"[i % 10];

	fd = open(RUST_GUP_DEVICE_PATH, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		err(1, "%s", RUST_GUP_DEVICE_PATH);

	pin.addr = (uintptr_t)buffer;
	pin.len_bytes = LEN_BYTES;
	/* For long, because this program decides when the pages are released. */
	pin.flags = RUST_GUP_PIN | RUST_GUP_LONGTERM;
	if (ioctl(fd, RUST_GUP_IOC_PIN, &pin))
		err(1, "RUST_GUP_IOC_PIN");
	printf("holding %llu pages in %llu runs, %llu of them taken without a lock\n",
	       pin.nr_pages, pin.nr_runs, pin.nr_fast);

	/* Reads through the held pages, as a device with DMA would see them. */
	copy.handle = pin.handle;
	copy.offset = 50000;
	copy.len_bytes = 10;
	copy.buf = (uintptr_t)text;
	if (ioctl(fd, RUST_GUP_IOC_READ, &copy))
		err(1, "RUST_GUP_IOC_READ");
	printf("read through them: %s\n", text);

	unpin.handle = pin.handle;
	if (ioctl(fd, RUST_GUP_IOC_UNPIN, &unpin))
		err(1, "RUST_GUP_IOC_UNPIN");
	return 0;
}
