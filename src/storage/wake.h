/*
 * wake.h
 *	  Telling the workers, at commit, that there is something for them.
 */
#ifndef SYNCEXT_WAKE_H
#define SYNCEXT_WAKE_H

/* Once, when the library is loaded. */
extern void wake_init(void);

/*
 * The transaction has written to the log what others are told of, or has
 * captured an edit for the source of a link.  Cheap however often it is said.
 */
extern void wake_note_log_written(void);
extern void wake_note_captured(const char *source);

/* Wake this process at commit, too. */
extern void wake_note_process(int pid);
/* Start the notifier once the transaction commits. */
extern void wake_note_launch_notifier(void);

/* Wake it now. */
extern void wake_process(int pid);

#endif							/* SYNCEXT_WAKE_H */
