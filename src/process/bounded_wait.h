/*
 * bounded_wait.h
 *	  Waiting for locks no longer than for a while.
 */
#ifndef SYNCEXT_BOUNDED_WAIT_H
#define SYNCEXT_BOUNDED_WAIT_H

/*
 * From here to bounded_wait_end(), or the end of the (sub)transaction, a wait for a lock
 * ends with 55P03 after so many milliseconds.
 */
extern int	bounded_wait_begin(int timeout);
extern void bounded_wait_end(int nest_level);

#endif							/* SYNCEXT_BOUNDED_WAIT_H */
