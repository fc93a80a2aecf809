/*
 * format.h
 *	  A text by a printf format whose arguments a function has taken itself.
 */
#ifndef SYNCEXT_FORMAT_H
#define SYNCEXT_FORMAT_H

/* Like psprintf(), for a va_list; the caller's list may be used again. */
extern char *format_va(const char *format, va_list args) pg_attribute_printf(1, 0);

#endif							/* SYNCEXT_FORMAT_H */
