// Package persistentvolume binds claims to volumes.
package persistentvolume
