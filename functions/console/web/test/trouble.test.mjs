// The API does not answer, or answers that something is wrong with it: nothing that was
// typed is lost, and the console goes on by itself when it can.
import assert from "node:assert/strict";
import { createKey } from "./seeds.mjs";
import { eventually, start } from "./world.mjs";

const world = await start();
const { gateway } = world;

const noAnswer = /ERR_CONNECTION_(REFUSED|RESET|CLOSED)|ERR_EMPTY_RESPONSE|ERR_INCOMPLETE_CHUNKED_ENCODING|ERR_FAILED|ERR_ABORTED|status of 50\d/;
const saysSo = (page) => page.getByRole("alert").filter({ hasText: /does not answer/ }).first();
const search = (page) => page.getByRole("searchbox", { name: "Search" });

world.test("when the API goes away every page says so, keeps what was typed, and goes on when it is back", async (v) => {
  v.expects(noAnswer);
  const k = await createKey(gateway, { name: "Down and up", permissions: ["customers:read"] });
  const [list, create, edit, signIn] = [v.page, await v.tab(), await v.tab(), await v.tab()];
  await v.signIn();
  await list.getByRole("link", { name: k.name }).waitFor();
  await v.signIn({ page: create, hash: "#/keys/new" });
  await create.getByRole("textbox", { name: "Name" }).fill("Made after all");
  await create.getByRole("button", { name: "Read only" }).click();
  await v.signIn({ page: edit, hash: "#/keys/" + k.keyId });
  await edit.getByRole("button", { name: "Edit", exact: true }).click();
  await edit.getByLabel("Owner").fill("kept while down");
  await edit.getByRole("button", { name: "Review changes" }).click();
  await v.go("", signIn);
  await signIn.getByLabel("Management API key").fill(world.root);

  await gateway.kill();
  await search(list).fill("down and");
  await saysSo(list).waitFor();
  assert.match(await list.getByRole("main").innerText(), /keeps? trying|Trying again by itself/);
  await create.getByRole("button", { name: "Create API Key" }).click();
  await saysSo(create).waitFor();
  await edit.getByRole("button", { name: "Save changes" }).click();
  await saysSo(edit).waitFor();
  await signIn.getByRole("button", { name: "Sign in" }).click();
  await saysSo(signIn).waitFor();

  await gateway.restart();
  await list.getByRole("row", { name: /Down and up/ }).waitFor({ timeout: 30_000 }); // nobody has touched it
  await saysSo(list).waitFor({ state: "detached" });
  assert.equal(await search(list).inputValue(), "down and");

  assert.equal(await create.getByRole("textbox", { name: "Name" }).inputValue(), "Made after all");
  await create.getByRole("button", { name: "Create API Key" }).click();
  await create.getByRole("dialog", { name: "Save your API key" }).waitFor();
  assert.equal((await gateway.must("GET", "/v1/api-keys?search=Made")).length, 1);

  if (await edit.getByRole("button", { name: "Review changes" }).isVisible()) await edit.getByRole("button", { name: "Review changes" }).click();
  await edit.getByRole("button", { name: "Save changes" }).click();
  await edit.getByRole("dialog").waitFor({ state: "detached" });
  assert.equal((await gateway.must("GET", "/v1/api-keys/" + k.keyId)).owner, "kept while down");

  await signIn.getByRole("button", { name: "Sign in" }).click();
  await signIn.getByRole("heading", { name: "API Keys" }).waitFor();
  world.secrets.add(await v.sessionKey(signIn));
});

world.test("an API that takes requests and never answers is given up after a while", async (v) => {
  v.expects(noAnswer);
  await v.page.clock.install();
  await v.signIn();
  await search(v.page).waitFor();
  await v.page.route("**/v1/api-keys?*", () => {}); // which nobody answers
  await search(v.page).fill("anything");
  await v.page.clock.runFor(1000);
  assert.equal(await saysSo(v.page).count(), 0, "not at once");
  await v.page.clock.runFor(40_000);
  await saysSo(v.page).waitFor();
  await v.page.unroute("**/v1/api-keys?*");
  await v.page.clock.runFor(20_000);
  await saysSo(v.page).waitFor({ state: "detached" });
  await v.page.getByText("No API key matches").waitFor();
});

world.test("an API that says when to come again is asked again then, and not before", async (v) => {
  v.expects(noAnswer);
  await v.signIn({ hash: "#/logs" });
  const asked = [];
  await v.page.route("**/v1/usage*", async (route) => {
    asked.push(Date.now());
    if (asked.length > 1) return route.continue();
    await route.fulfill({ status: 503, headers: { "Retry-After": "3" }, json: { success: false, error: { code: "unavailable", message: "The store does not answer.", requestId: "req-1" } } });
  });
  await v.page.getByRole("link", { name: "Usage", exact: true }).click();
  await v.page.getByRole("alert").getByText("The store does not answer.").waitFor();
  await v.page.getByText("req-1").waitFor();
  await eventually("asked again", () => asked.length > 1);
  assert.ok(asked[1] - asked[0] >= 2900, `after ${asked[1] - asked[0]} ms`);
  await v.page.getByText("The store does not answer.").waitFor({ state: "detached" });
});

world.test("an answer to a session that was signed out does not end the next one", async (v) => {
  v.expects(/status of 401/);
  let answer;
  const later = new Promise((resolve) => (answer = resolve));
  await v.page.route("**/v1/account", async (route) => {
    await later;
    await route.continue();
  }, { times: 1 });
  await v.signIn();
  await v.button("Sign out").click();
  await v.page.getByLabel("Management API key").fill(world.root);
  await v.button("Sign in").click();
  await v.heading("API Keys").waitFor();
  world.secrets.add(await v.sessionKey());
  const refused = v.page.waitForResponse((r) => r.status() === 401);
  answer();
  await refused;
  await v.page.getByRole("link", { name: "Logs", exact: true }).click();
  await v.heading("Logs").waitFor();
});
