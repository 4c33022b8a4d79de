// The site's one script. Every page reads well without it.
// It fills the elements marked data-say with what only the running page knows.

const say = (what, text) => {
  for (const element of document.querySelectorAll(`[data-say="${what}"]`)) {
    element.textContent = text;
  }
};

const promises = document.querySelectorAll("#promises .numbered > li").length;

say("module", `The module ran: ${promises} promises counted.`);
say("origin", location.origin);
say("path", `You asked for ${location.pathname}`);
