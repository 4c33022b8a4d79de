# Medians of rounds, as a markdown table: a row for each work, a column for each server.
#
#     awk -f table.awk -v servers="limit docroot" -v field=3 titles results
#
# `titles` has lines of key, tab, text, for works and servers. `results` has lines of work, server, figure, rate, and, where
# it was not measured but published, its ratio. `field` is the column of `results` to show; `against` names the server whose
# figure the others are divided by, in brackets; `spread=1` tells below the table how far the rounds were apart.

BEGIN { FS = "\t"; columns = split(servers, order, " ") }

FNR == NR { title[$1] = $2; next }

{
    if (!($1 in seen)) { seen[$1] = 1; work[++works] = $1 }
    cell = $1 SUBSEP $2
    value[cell, ++rounds[cell]] = $field
    if ($5 != "") published[cell] = $5
}

# The middle of a cell's rounds, or the mean of the middle two; leaves them sorted.
function median(cell,    n, i, j, held) {
    n = rounds[cell]; if (n > most) most = n
    for (i = 2; i <= n; i++) {
        held = value[cell, i]
        for (j = i - 1; j >= 1 && value[cell, j] + 0 > held + 0; j--) value[cell, j + 1] = value[cell, j]
        value[cell, j + 1] = held
    }
    return (value[cell, int((n + 1) / 2)] + value[cell, int(n / 2) + 1]) / 2
}

function short(x) { return sprintf(x < 10 ? "%.2f" : x < 1000 ? "%.1f" : "%.0f", x) }

function text(cell, base,    middle, n) {
    if (!rounds[cell] || (field == 4 && cell in published)) return "-"
    middle = median(cell)
    if (cell in published) return short(middle) " (" published[cell] ")"
    n = rounds[cell]; if (n > most) most = n
    if (middle > 0) spreads[++cells] = (value[cell, n] - value[cell, 1]) / middle * 100
    if (base == "" || base <= 0) return short(middle)
    return short(middle) sprintf(" (%.2f)", middle / base)
}

END {
    head = "| " corner " |"; rule = "|---|"
    for (c = 1; c <= columns; c++) { head = head " " title[order[c]] " |"; rule = rule "---|" }
    print head "\n" rule
    for (w = 1; w <= works; w++) {
        base = against != "" && rounds[work[w], against] ? median(work[w] SUBSEP against) : ""
        row = "| " title[work[w]] " |"
        for (c = 1; c <= columns; c++)
            row = row " " text(work[w] SUBSEP order[c], order[c] == against ? "" : base) " |"
        print row
    }
    if (spread && most > 1) {
        for (i = 1; i <= cells; i++) { value["spread", i] = spreads[i] }
        rounds["spread"] = cells
        middle = median("spread")
        printf "\nFrom the lowest to the highest round of a figure: %.0f %% of it (median of all figures), %.0f %% at most.\n", \
            middle, value["spread", cells]
    }
}
