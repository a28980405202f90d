// SPDX-License-Identifier: GPL-2.0
/*
 * Rust's messages, for a module that is linked statically. pr_err!() and the like pass the format %pA
 * and a value of the Rust compiler that built the module. A kernel that was built without Rust does
 * not know %pA (lib/vsprintf.c:2602), and a kernel that was built with another version of rustc
 * crashes, because it takes the value for one of its own. So these functions, which the linker calls
 * instead (--wrap in Kbuild.static), let the module's own kernel crate format the text.
 */
#include <linux/device.h>
#include <linux/kern_levels.h>
#include <linux/minmax.h>
#include <linux/printk.h>
#include <linux/stdarg.h>
#include <linux/string.h>

#define TEXT_SIZE 256

int __wrap__printk(const char *format, ...);
void __wrap__dev_printk(const char *level, const struct device *dev, const char *format, ...);

/* rust/kernel/print.rs */
char *rust_fmt_argument(char *buf, char *end, const void *ptr);

/* Formats a value of Rust. A text that is too long is cut off, and still ends its line. */
static void format_rust(char text[TEXT_SIZE], const void *arguments)
{
	char *last = text + TEXT_SIZE - 1, *end = rust_fmt_argument(text, last, arguments);

	if (end > last)
		last[-1] = '\n';
	*min(end, last) = '\0';
}

static __printf(1, 2) int print(const char *format, ...)
{
	va_list args;
	int len;

	va_start(args, format);
	len = vprintk(format, args);
	va_end(args);
	return len;
}

/* Stands for _printk(). The formats of Rust are LEVEL "%s: %pA" and KERN_CONT "%pA". */
int __wrap__printk(const char *format, ...)
{
	char text[TEXT_SIZE];
	const char *name;
	va_list args;
	int len;

	va_start(args, format);
	if (!strstr(format, "%pA")) {
		len = vprintk(format, args);
	} else {
		name = strstr(format, "%s") ? va_arg(args, const char *) : NULL;
		format_rust(text, va_arg(args, const void *));
		len = print(KERN_SOH "%c%s%s%s", printk_get_level(format), name ?: "", name ? ": " : "", text);
	}
	va_end(args);
	return len;
}

/* Stands for _dev_printk(). The format of Rust is "%pA", and the device is not NULL then. */
void __wrap__dev_printk(const char *level, const struct device *dev, const char *format, ...)
{
	char text[TEXT_SIZE];
	struct va_format vaf = { .fmt = format };
	va_list args;

	va_start(args, format);
	if (!strcmp(format, "%pA")) {
		format_rust(text, va_arg(args, const void *));
		dev_printk_emit(level[1] - '0', dev, "%s %s: %s", dev_driver_string(dev), dev_name(dev), text);
	} else {
		vaf.va = &args;
		if (dev)
			dev_printk_emit(level[1] - '0', dev, "%s %s: %pV", dev_driver_string(dev), dev_name(dev), &vaf);
		else
			print("%s(NULL device *): %pV", level, &vaf);
	}
	va_end(args);
}
