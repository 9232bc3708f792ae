// Package disruption computes how many pods of a PodDisruptionBudget may be evicted now.
package disruption
