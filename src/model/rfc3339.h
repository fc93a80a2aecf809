/*
 * rfc3339.h
 *	  Times as documents and answers write them.
 */
#ifndef SYNCEXT_RFC3339_H
#define SYNCEXT_RFC3339_H

#include "datatype/timestamp.h"

/* Is it of the years 0 to 9999, which can be written and read? */
extern bool rfc3339_can_be(TimestampTz time);
extern bool rfc3339_parse(const char *text, int len, TimestampTz *result);
extern char *rfc3339_format(TimestampTz time);

#endif							/* SYNCEXT_RFC3339_H */
