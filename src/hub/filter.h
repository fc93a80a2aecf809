/*
 * filter.h
 *	  Does a record meet a route's filter?
 */
#ifndef SYNCEXT_FILTER_H
#define SYNCEXT_FILTER_H

#include "utils/jsonb.h"
#include "utils/jsonpath.h"

/*
 * A filter that is null, or that can't be evaluated on these fields, isn't met.
 * In the latter case *error, unless error is NULL, says why; else it is NULL.
 */
extern bool filter_met(JsonPath *filter, Jsonb *fields, const char **error);

#endif							/* SYNCEXT_FILTER_H */
