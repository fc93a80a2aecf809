/*
 * wake.h
 *	  Waking workers, and the sessions that wait in sync_wait, when a transaction that
 *	  concerns them commits.
 */
#ifndef SYNCEXT_WAKE_H
#define SYNCEXT_WAKE_H

/* For _PG_init. */
extern void wake_init(void);

/* There is something for targets that is no row of the log: tell them when the transaction commits. */
extern void wake_note_feeds(void);
/* Start the notifier when the transaction commits. */
extern void wake_note_launch_notifier(void);

/* Wake it now. */
extern void wake_process(int pid);

#endif							/* SYNCEXT_WAKE_H */
