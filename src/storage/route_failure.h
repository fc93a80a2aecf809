/*
 * route_failure.h
 *	  Filters that could not be evaluated: table syncext.route_failure.
 */
#ifndef SYNCEXT_ROUTE_FAILURE_H
#define SYNCEXT_ROUTE_FAILURE_H

/* Note a record that a route's filter fails on, in place of one noted before. */
extern void route_failure_note(const char *source, const char *entity, const char *external_id,
							   const char *error);

#endif							/* SYNCEXT_ROUTE_FAILURE_H */
