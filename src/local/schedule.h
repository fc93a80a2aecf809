/*
 * schedule.h
 *	  Schedules of attached relations.
 */
#ifndef SYNCEXT_SCHEDULE_H
#define SYNCEXT_SCHEDULE_H

#include "storage/binding.h"

/* Raise unless the relation is attached and the user may act as its source. */
extern const Binding *schedule_check_relation(Oid relid);
/* Raise unless the user owns the relation. */
extern void schedule_check_owner(Oid relid);
/* What the binding has use for: "poll", "deliver", "both"; NULL: nothing. */
extern const char *schedule_default_job(const Binding *binding);
/* The job, by default that one; raises if the binding has no use for it. */
extern const char *schedule_check_job(const Binding *binding, const char *job);

#endif							/* SYNCEXT_SCHEDULE_H */
