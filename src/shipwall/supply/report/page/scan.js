(() => {
  document.documentElement.classList.add('scripted');
  const rows = [...document.querySelectorAll('#findings tbody tr')];
  const search = document.querySelector('#search');
  const buttons = [...document.querySelectorAll('.tools button')];
  const shown = document.querySelector('#shown');
  if (!search) return;
  const texts = rows.map((row) => row.textContent.toLowerCase());
  const apply = () => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const pressed = buttons.filter((one) => one.getAttribute('aria-pressed') === 'true').map((one) => one.dataset.mark);
    const severities = pressed.filter((one) => one !== 'fixed' && one !== 'kev');
    let count = 0;
    rows.forEach((row, at) => {
      const marks = row.dataset.marks.split(' ');
      const fits = words.every((word) => texts[at].includes(word))
        && (!severities.length || severities.some((one) => marks.includes(one)))
        && ['fixed', 'kev'].every((one) => !pressed.includes(one) || marks.includes(one));
      row.hidden = !fits;
      count += fits;
    });
    shown.textContent = count === rows.length ? `${count} findings` : `${count} of ${rows.length} findings`;
  };
  buttons.forEach((one) => one.addEventListener('click', () => {
    one.setAttribute('aria-pressed', String(one.getAttribute('aria-pressed') !== 'true'));
    apply();
  }));
  search.addEventListener('input', apply);
  apply();
})();
