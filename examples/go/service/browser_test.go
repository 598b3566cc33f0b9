package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
)

// The page in a headless Chromium: what a person clicks and sees. COGVIDEOX_SCREENSHOTS names a
// folder for pictures of it.
func TestPageInABrowser(t *testing.T) {
	browser := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			browser = path
			break
		}
	}
	if browser == "" {
		t.Fatal("the page is tested in Chromium: install chromium")
	}
	pictures := os.Getenv("COGVIDEOX_SCREENSHOTS")
	if pictures == "" {
		pictures = t.TempDir()
	}

	c := settings()
	c.model, c.example, c.maxSteps = "../../demo-model/pipeline", "a red ball moves right on a black background", 100
	server, _ := start(t, c)

	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(browser), chromedp.NoSandbox, chromedp.WindowSize(1100, 800),
		chromedp.Flag("disable-dev-shm-usage", true))
	allocator, stop := chromedp.NewExecAllocator(context.Background(), options...)
	defer stop()
	tab, closeTab := chromedp.NewContext(allocator)
	defer closeTab()
	ctx, cancel := context.WithTimeout(tab, 10*time.Minute)
	defer cancel()
	var console []string
	chromedp.ListenTarget(ctx, func(event any) {
		if text, bad := complaint(event); bad {
			console = append(console, text)
		}
	})

	do := func(actions ...chromedp.Action) {
		t.Helper()
		if err := chromedp.Run(ctx, actions...); err != nil {
			t.Fatal(err)
		}
	}
	text := func(id string) (found string) {
		t.Helper()
		do(chromedp.Text("#"+id, &found, chromedp.ByQuery))
		return found
	}
	is := func(script string) (answer bool) {
		t.Helper()
		do(chromedp.Evaluate(script, &answer))
		return answer
	}
	until := func(what, script string) {
		t.Helper()
		for end := time.Now().Add(3 * time.Minute); !is(script); time.Sleep(50 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("%s: not within 3 minutes; the page says %q", what, text("status"))
			}
		}
	}
	picture := func(name string) {
		t.Helper()
		var png []byte
		do(chromedp.FullScreenshot(&png, 100))
		if err := os.WriteFile(filepath.Join(pictures, name), png, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	set := func(id, value string) {
		t.Helper()
		do(chromedp.SetValue("#"+id, value, chromedp.ByQuery))
	}

	do(chromedp.Navigate(server.URL), chromedp.WaitVisible(`body[data-ready]`, chromedp.ByQuery))
	if family := text("model"); !strings.Contains(family, "64×64, 17 frames") {
		t.Errorf("the page does not tell the model: %q", family)
	}
	// Whoever does not see the page is told what each field is.
	if !is(`[...document.querySelectorAll("input, textarea, progress")].every(e => e.labels.length > 0)
		&& document.documentElement.lang === "en" && document.querySelector("h1") !== null
		&& [...document.querySelectorAll("img")].every(e => e.alt)`) {
		t.Error("a field has no label")
	}

	// Generate: progress moves, frames are counted as they come, the video plays.
	do(chromedp.Evaluate(`
		window.seen = { values: [], statuses: [], previews: 0 };
		new MutationObserver(() => seen.values.push(document.getElementById("progress").value))
			.observe(document.getElementById("progress"), { attributes: true });
		new MutationObserver(() => seen.statuses.push(document.getElementById("status").textContent))
			.observe(document.getElementById("status"), { childList: true });
		new MutationObserver(() => seen.previews++)
			.observe(document.getElementById("preview"), { attributeFilter: ["src"] });`, nil))
	set("seed", "3")
	set("steps", "100")
	do(chromedp.Click(`input[value="faster_cache"]`, chromedp.ByQuery), chromedp.Click("#generate", chromedp.ByQuery))
	until("the run begins", `seen.statuses.some(s => s.startsWith("Denoising, step"))`)
	if !is(`document.getElementById("generate").disabled && !document.getElementById("cancel").disabled`) {
		t.Error("while it runs, one can cancel and not generate")
	}
	picture("running.png")
	until("the video is there", `!document.getElementById("video").hidden && document.getElementById("video").readyState >= 2`)
	if !is(`(v => v.videoWidth === 64 && v.videoHeight === 64 && v.duration > 1)(document.getElementById("video"))`) {
		t.Error("the video is not what was asked for")
	}
	until("it plays", `document.getElementById("video").currentTime > 0`)
	if !is(`new Set(seen.values).size > 5 && seen.values.every((v, i) => i === 0 || v >= seen.values[i - 1])
		&& seen.values.at(-1) === 100`) {
		t.Error("the bar did not move steadily from left to right")
	}
	if !is(`seen.previews > 1 && seen.statuses.some(s => s === "Decoded frame 17 of 17")`) {
		t.Error("frames were not shown as they were decoded")
	}
	if status := text("status"); !strings.HasPrefix(status, "Done in ") || !strings.Contains(status, "17 frames, seed 3, steps about") {
		t.Errorf("found %q", status)
	}
	var sizes []int
	do(chromedp.Evaluate(`Promise.all(["mp4", "gif"].map(async id =>
		(await (await fetch(document.getElementById(id).href)).blob()).size))`, &sizes, chromedp.EvalAsValue, awaited))
	if len(sizes) != 2 || sizes[0] < 500 || sizes[1] < 500 {
		t.Errorf("the downloads have %v bytes", sizes)
	}
	picture("done.png")

	// A mistake is told beside the form, and goes away with the next try.
	set("steps", "5000")
	do(chromedp.Click("#generate", chromedp.ByQuery), chromedp.WaitVisible("#error", chromedp.ByQuery))
	if message := text("error"); !strings.Contains(message, "steps") || !strings.Contains(message, "100") {
		t.Errorf("found %q", message)
	}
	picture("error.png")

	// Cancel stops the run in the service too.
	set("steps", "100")
	do(chromedp.Click(`input[value="none"]`, chromedp.ByQuery), chromedp.Click("#generate", chromedp.ByQuery))
	until("the bar moves", `document.getElementById("progress").value > 2`)
	if is(`!document.getElementById("error").hidden`) {
		t.Error("the old error is still there")
	}
	counted(t, server.URL, 1, 0)
	do(chromedp.Click("#cancel", chromedp.ByQuery))
	until("it is cancelled", `document.getElementById("status").textContent === "Cancelled."
		&& !document.getElementById("generate").disabled && document.getElementById("cancel").disabled`)
	counted(t, server.URL, 0, 0)

	// Small and dark, and with the keyboard alone.
	do(chromedp.EmulateViewport(360, 740),
		emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: "dark"}}))
	set("steps", "4")
	do(chromedp.Focus("#generate", chromedp.ByQuery), chromedp.KeyEvent("\r"))
	until("the video of the keyboard is there", `!document.getElementById("video").hidden && document.getElementById("video").readyState >= 2`)
	if !is(`document.documentElement.scrollWidth <= innerWidth`) {
		t.Error("the page is wider than a small screen")
	}
	picture("small.png")
	if len(console) > 1 || len(console) == 1 && !strings.Contains(console[0], "400") {
		t.Errorf("the browser complains: %q", console)
	}
}
