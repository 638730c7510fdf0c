// node screenshots.mjs [DIRECTORY]: pictures of every page and dialog, light and dark, on a
// wide and on a narrow screen, into .local/screenshots or DIRECTORY.
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { repository } from "./gateway.mjs";
import { lively } from "./seeds.mjs";
import { show, views } from "./views.mjs";
import { Visitor, World } from "./world.mjs";

const out = process.argv[2] ?? join(repository, ".local/screenshots");
mkdirSync(out, { recursive: true });

const world = new World();
await world.begin();
try {
  const all = views(await lively(world.gateway), await world.gateway.must("GET", "/v1/api-keys/self"));
  for (const scheme of ["light", "dark"]) {
    for (const [width, height] of [[1280, 800], [360, 740]]) {
      const v = await Visitor.open(world, { scheme, width, height });
      const take = async (name) => {
        const fullPage = await v.page.locator("dialog[open]").count() === 0; // a dialog is of the window, not of the page
        if (fullPage) { // what loads when one comes near
          await v.page.evaluate(() => scrollTo(0, document.documentElement.scrollHeight));
          await v.calm();
          await v.page.evaluate(() => scrollTo(0, 0));
        }
        await v.page.screenshot({ path: join(out, `${name}-${width}-${scheme}.png`), fullPage, animations: "disabled" });
      };
      await v.go();
      await v.page.getByLabel("Management API key").waitFor();
      await take("sign-in");
      await v.signIn();
      for (const view of all) await show(v, view, () => take(view.name));
      await v.close();
    }
  }
  console.log(`screenshots: ${(all.length + 1) * 4} in ${out}`);
} finally {
  await world.end();
}
