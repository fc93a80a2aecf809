/*
 * for_now.h
 *	  Settings that hold for a while, and waits for locks that one of them bounds.
 */
#ifndef SYNCEXT_FOR_NOW_H
#define SYNCEXT_FOR_NOW_H

/* Both until the level of settings ends that the caller has begun: NewGUCNestLevel(). */
extern void set_for_now(const char *name, const char *value);
/* A wait for a lock ends with 55P03 after so many milliseconds. */
extern void bound_waits_for_now(int timeout);

/* So it is from here to bounded_wait_end(), or the end of the (sub)transaction. */
extern int	bounded_wait_begin(int timeout);
extern void bounded_wait_end(int nest_level);

/* Like subxact_try_lock(), but wait for locks no longer than so many milliseconds. */
extern bool bounded_wait_try(int timeout, void (*function) (void *arg), void *arg);

#endif							/* SYNCEXT_FOR_NOW_H */
