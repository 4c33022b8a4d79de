// The requests of a browser for the site of .ci/site: first visit, reload, click, deep link, and after a release.
//
// node site.mjs URL RELEASE: RELEASE is a command that replaces this release by the next. Prints a table of everything that
// the browser loaded, and each deviation; exits with 1 if there was any.
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

// Loads of this step, by the browser's request id; a redirect or a reload has its own.
let loads = new Map();
// Complaints of the browser: errors in the console, exceptions, failed loads.
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
// The status on the network: after a 304, the page sees the 200 of its cached copy.
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

// Acts, waits until `shown` contains `text`, and prints and returns the loads.
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
check(reload.some(isHashed) && !reload.every(isHashed), 'a reload loads fingerprinted files, and others');
for (const one of reload) {
  if (isHashed(one)) check(one.from === 'cache', `reload: ${one.path} was requested again`);
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

// A page of release 1 is open, and the chunk that it requests next is gone.
execSync(release, { stdio: 'inherit' });
const next = await step('after a release', click('/about'), '#about', 'This is release 2.');
check(next[0]?.path.endsWith('.js') && next[0].status === 404, 'a chunk of the last release is 404');
check(next.some(({ path, status }) => path === '/about' && status === 200), 'the page is loaded anew');
check(next.some(({ path, from }) => path.includes('react-') && from === 'cache'), 'a file that the release did not change is not requested');

console.log(`\nThe browser (${await browser.version()}) sent \`Accept-Encoding: ${codings}\`.`);
await browser.close();
process.exit(failures === 0 ? 0 : 1);
