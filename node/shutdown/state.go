package shutdown

import (
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"time"
)

// state is what survives a shutdown, to be told afterwards.
type state struct {
	Start time.Time `json:"startTime"`
	End   time.Time `json:"endTime,omitzero"`
}

// recall shows the last shutdown in the metrics.
func (m *Manager) recall() {
	var s state
	data, err := os.ReadFile(m.cfg.StateFile)
	if err == nil {
		err = json.Unmarshal(data, &s)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		slog.Warn("What is known of the last shutdown cannot be read", "file", m.cfg.StateFile, "err", err)
	}
	m.show(s)
}

func (m *Manager) note(s state) {
	m.show(s)
	data, err := json.Marshal(s)
	if err == nil {
		err = os.WriteFile(m.cfg.StateFile, data, 0o600)
	}
	if err != nil {
		slog.Warn("The time of the shutdown cannot be kept", "err", err)
	}
}

func (m *Manager) show(s state) {
	seconds := func(t time.Time) float64 {
		if t.IsZero() {
			return 0
		}
		return float64(t.UnixNano()) / 1e9
	}
	m.start.Set(seconds(s.Start))
	m.end.Set(seconds(s.End))
}
