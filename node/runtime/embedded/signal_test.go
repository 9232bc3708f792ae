package embedded

import "testing"

// FuzzStopSignal: what an image calls its stop signal is one that there is.
func FuzzStopSignal(f *testing.F) {
	for _, name := range []string{"SIGTERM", "term", "15", "-9", "65", "SIGRTMIN+3", "RTMAX-30", "SIGRTMIN+9223372036854775807", "SIGRTMAX-9223372036854775807", "SIGRTMIN-1", "SIG", " "} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if sig, err := stopSignal(name); err == nil && (sig < 1 || sig > sigRTMax) {
			t.Errorf("%q is signal %d", name, int(sig))
		}
	})
}
