/*
 * launcher.h
 *	  Starting the links' workers with the server.
 */
#ifndef SYNCEXT_LAUNCHER_H
#define SYNCEXT_LAUNCHER_H

/* Have the postmaster run the launcher, if it is what loads the library. */
extern void launcher_register(void);

#endif							/* SYNCEXT_LAUNCHER_H */
