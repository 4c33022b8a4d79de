// What a browser asks of the site that .ci/site makes, on a first visit, a reload, a click, a deep link, and after a release.
//
// node site.mjs URL RELEASE: RELEASE is a command that puts the next release in place of this one. Prints a table of all
// that the browser loaded, and says what was not as it should be; then it exits with 1.
import { execSync } from 'node:child_process';
import puppeteer from 'puppeteer-core';

const [url, release] = process.argv.slice(2);
const browser = await puppeteer.launch({
  executablePath: '/usr/bin/chromium',
  args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
    '--disable-component-update', '--disable-sync'],
});
const page = await browser.newPage();
const network = await page.createCDPSession();
await network.send('Network.enable');

// What is loaded in this step, by the browser's id for it; a redirect or a reload has its own.
let loads = new Map();
// What the browser complains of: errors in the console, exceptions, loads that failed.
let complaints = [];
let failures = 0;
let codings;

const load = (id) => loads.get(id) ?? loads.set(id, { from: 'network' }).get(id);
network.on('Network.requestWillBeSent', ({ requestId, request }) => { load(requestId).path = request.url.replace(url, ''); });
network.on('Network.requestWillBeSentExtraInfo', ({ headers }) => { codings ??= headers['Accept-Encoding']; });
network.on('Network.requestServedFromCache', ({ requestId }) => { load(requestId).from = 'cache'; });
network.on('Network.responseReceived', ({ requestId, response }) => {
  const one = load(requestId);
  if (response.fromDiskCache) one.from = 'cache';
  one.bytes = response.encodedDataLength;
  one.status ??= response.status;
});
// What came over the network, where the page is told of what it had (200) after a 304.
network.on('Network.responseReceivedExtraInfo', ({ requestId, statusCode }) => { load(requestId).status = statusCode; });
network.on('Network.loadingFinished', ({ requestId, encodedDataLength }) => { load(requestId).bytes = encodedDataLength; });
page.on('console', (message) => { if (message.type() !== 'log') complaints.push(message.text()); });
page.on('pageerror', (error) => complaints.push(String(error)));
page.on('requestfailed', (request) => complaints.push(`${request.url()}: ${request.failure()?.errorText}`));

function check(is, what) {
  if (is) return;
  failures += 1;
  console.error(`site: ${what}`);
}

// Does something, waits until what it shows is there, and tells what was loaded for it.
async function step(name, act, shown, text) {
  loads = new Map();
  complaints = [];
  await act();
  await page.waitForFunction((shown, text) => document.querySelector(shown)?.textContent.includes(text), {}, shown, text);
  await page.waitForNetworkIdle();
  const seen = [...loads.values()].filter(({ path }) => path?.startsWith('/'));
  for (const { path, status, from, bytes } of seen) {
    console.log(`| ${name} | ${path} | ${status} | ${from} | ${from === 'cache' ? 0 : bytes ?? '-'} |`);
  }
  return seen;
}
const click = (link) => () => page.click(`a[href="${link}"]`);
const isHashed = ({ path }) => path.startsWith('/assets/');

console.log('| step | path | status | from | bytes, head and content |');
console.log('|---|---|---|---|---|');

const visit = await step('first visit', () => page.goto(url), '#home', 'ring');
check(visit.length > 5, `a first visit loads ${visit.length} files`);
check(visit.every(({ status, from }) => status === 200 && from === 'network'), 'a first visit loads all from the server');
check(complaints.length === 0, `first visit: ${complaints}`);

const reload = await step('reload', () => page.reload(), '#home', 'ring');
check(reload.some(isHashed) && !reload.every(isHashed), 'a reload loads files with a hash in their names, and others');
for (const one of reload) {
  if (isHashed(one)) check(one.from === 'cache', `reload: ${one.path} was asked for again`);
  else check(one.status === 304 && one.bytes < 500, `reload: ${one.path} is ${one.status} with ${one.bytes} bytes, and not a bare 304`);
}
check(complaints.length === 0, `reload: ${complaints}`);

const lazy = await step('click', click('/loop'), '#loop', '');
check(lazy.some(({ path }) => /loop-.*\.js$/.test(path)), 'a click loads the chunk of its route');
check(await page.$eval('#loop img', (image) => image.decode().then(() => image.naturalWidth > 0)), 'the image is shown');
check(complaints.length === 0, `click: ${complaints}`);

const deep = await step('deep link', () => page.goto(`${url}/sum/of/all`), '#sum', '250500250000');
check(deep.some(({ path, from }) => path.includes('.wasm') && from === 'network'), 'a deep link loads what its route needs');
check(complaints.length === 0, `deep link: ${complaints}`);
check(await page.evaluate(() => document.fonts.check('16px "Open Sans"')), 'the font is used');

// A page of release 1 is open, and the chunk that it asks for next is no more.
execSync(release, { stdio: 'inherit' });
const next = await step('after a release', click('/about'), '#about', 'This is release 2.');
check(next[0]?.path.endsWith('.js') && next[0].status === 404, 'a chunk of the last release is 404');
check(next.some(({ path, status }) => path === '/about' && status === 200), 'the page is loaded anew');
check(next.some(({ path, from }) => path.includes('react-') && from === 'cache'), 'what a release leaves as it was is not asked for');

console.log(`\nThe browser (${await browser.version()}) asked with \`Accept-Encoding: ${codings}\`.`);
await browser.close();
process.exit(failures === 0 ? 0 : 1);
