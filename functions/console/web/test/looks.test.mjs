// Every page and dialog: for who cannot see it, for who has little room, and within what its
// Content-Security-Policy allows.
import assert from "node:assert/strict";
import { lively } from "./seeds.mjs";
import { show, views } from "./views.mjs";
import { start } from "./world.mjs";

const world = await start();
const { gateway } = world;
const all = views(await lively(gateway), await gateway.must("GET", "/v1/api-keys/self"));

/** Runs look on every view; tells all that is wrong, not only the first. */
async function everywhere(v, look) {
  const wrong = [];
  const seen = async (show) => {
    try {
      await show();
    } catch (e) {
      wrong.push(e.message);
      // Whatever was open is left behind.
      const page = v.page;
      v.page = await v.tab();
      await v.signIn();
      await page.close();
    }
  };
  await v.go();
  await v.page.getByLabel("Management API key").waitFor();
  await seen(() => look("sign-in"));
  await v.signIn();
  for (const view of all) await seen(() => show(v, view, () => look(view.name)));
  assert.ok(wrong.length === 0, `${wrong.length} of ${all.length + 1} views:\n${wrong.join("\n")}`);
}

for (const scheme of ["light", "dark"]) {
  world.test(`axe-core finds no fault with any page or dialog, ${scheme}`, { scheme }, async (v) => {
    v.expects(/status of 400/);
    await everywhere(v, async (what) => {
      await v.accessible(what);
      await v.page.setViewportSize({ width: 800, height: 800 });
      await v.fits(what + " at 800 pixels");
      await v.page.setViewportSize({ width: 1280, height: 800 });
    });
    const ground = await v.page.evaluate(() => getComputedStyle(document.body).backgroundColor);
    const [light] = ground.match(/\d+/g).map(Number);
    assert.equal(light > 127, scheme === "light", `the ground is ${ground}`);
  });
}

world.test("on a screen of 360 pixels nothing scrolls sideways, and axe-core finds no fault", { width: 360, height: 740 }, async (v) => {
  v.expects(/status of 400/);
  await everywhere(v, async (what) => {
    await v.fits(what);
    await v.accessible(what);
  });
});

world.test("nothing scrolls sideways with text of twice the size", async (v) => {
  v.expects(/status of 400/);
  await v.context.addInitScript(() => addEventListener("DOMContentLoaded", () => (document.documentElement.style.fontSize = "200%")));
  await everywhere(v, (what) => v.fits(what));
});

for (const [reducedMotion, want] of [["no-preference", "turns"], ["reduce", "hardly moves"]]) {
  world.test(`what shows that something is loading ${want} where the system asks for ${reducedMotion}`, { context: { reducedMotion } }, async (v) => {
    await v.page.route("**/v1/logs*", () => {}); // so that it goes on
    await v.signIn({ hash: "#/logs" });
    await v.page.getByText("Loading").waitFor();
    const turns = await v.page.evaluate(() => document.getAnimations().filter((a) => a.playState === "running").map((a) => a.effect.getComputedTiming().duration));
    assert.ok(turns.length > 0);
    assert.equal(turns.every((ms) => ms >= 3000), reducedMotion === "reduce", turns.join());
  });
}
