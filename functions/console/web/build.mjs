// node build.mjs DIRECTORY: puts the files of the console there that the binary embeds, each
// as gzip: one script, one style sheet, both named after their content, and the page that
// names them. The same sources give the same bytes. What is there and not of this build goes.
import { build } from "esbuild";
import { createHash } from "node:crypto";
import { readFileSync, readdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { basename, extname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";

const web = fileURLToPath(new URL(".", import.meta.url));
const out = process.argv[2];

const made = await build({
  absWorkingDir: web,
  entryPoints: ["src/main.tsx"],
  bundle: true,
  minify: true,
  write: false,
  outdir: "out",
  format: "esm",
  target: "es2022",
  charset: "utf8",
  loader: { ".svg": "dataurl" },
  define: { "process.env.NODE_ENV": '"production"' },
  legalComments: "none",
  banner: { js: "/* With Preact, (c) Jason Miller, MIT License */" },
  logLevel: "warning",
}).catch(() => process.exit(1)); // esbuild has said why

// esbuild's own hash is of its inputs' paths too, and so of where this directory is.
const files = new Map(made.outputFiles.map((f) => {
  const hash = createHash("sha256").update(f.contents).digest("hex").slice(0, 12);
  return [basename(f.path).replace(".", `-${hash}.`), f.contents];
}));
let page = readFileSync(join(web, "index.html"), "utf8");
for (const name of files.keys()) {
  const parts = page.split({ ".js": '"main.js"', ".css": '"style.css"' }[extname(name)]);
  if (parts.length !== 2) throw new Error(`index.html has no one place for ${name}`);
  page = parts.join(`"${name}"`);
}
files.set("index.html", Buffer.from(page)); // last: it names the others

// Only what differs is written, and each file at once: a compiler may be reading them.
let total = 0;
for (const [name, contents] of files) {
  const packed = gzipSync(contents, { level: 9, memLevel: 9 });
  packed[9] = 255; // the operating system: any (RFC 1952 section 2.3.1)
  total += packed.length;
  const file = join(out, name + ".gz");
  if (!read(file)?.equals(packed)) {
    writeFileSync(file + ".new", packed);
    renameSync(file + ".new", file);
  }
}
for (const old of readdirSync(out)) {
  if (old.endsWith(".gz") && !files.has(old.slice(0, -3))) rmSync(join(out, old));
}
console.log(`console: ${total} bytes of gzip in ${files.size} files`);

function read(file) {
  try {
    return readFileSync(file);
  } catch {
    return undefined;
  }
}
